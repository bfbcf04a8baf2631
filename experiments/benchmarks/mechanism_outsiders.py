"""Attention of other libraries, where they are installed: forward, without projections."""

from __future__ import annotations

import functools
import importlib.util
import shutil
from collections.abc import Callable

import torch
from torch import Tensor

from memollm.attention.mechanisms.local import Local

WINDOW = 512  # tokens
CLOSE = 2e-5  # float32, of values of size about 1

Call = Callable[[], Tensor]


def available() -> dict[str, bool]:
    """Which libraries take part."""
    return {
        "flex_attention": _has_compiler(),
        "x_transformers": importlib.util.find_spec("x_transformers") is not None,
        "fla": _has_fla(),
    }


def entrants(q: Tensor, k: Tensor, v: Tensor) -> dict[str, tuple[bool, Call]]:
    """Those that are there, causal, known to agree with what they stand beside."""
    there, found = available(), {}
    if there["flex_attention"]:
        found["flex window"] = (True, _flex(q, k, v))
        wanted = Local(WINDOW).attend(q, k, v)
        torch.testing.assert_close(found["flex window"][1](), wanted, rtol=0, atol=CLOSE)
    if there["x_transformers"]:
        from x_transformers.attend import Attend  # type: ignore

        attention = Attend(causal=True, flash=True)
        found["x-transformers"] = (True, lambda: attention(q, k, v)[0])
    if there["fla"]:
        from fla.ops.linear_attn import chunk_linear_attn  # type: ignore

        turned = [it.transpose(1, 2).contiguous() for it in (q, k, v)]
        found["fla linear"] = (True, lambda: chunk_linear_attn(*turned)[0])
    return found


def _has_compiler() -> bool:
    return any(shutil.which(it) for it in ("c++", "g++", "clang++"))


def _has_fla() -> bool:
    return torch.cuda.is_available() and importlib.util.find_spec("fla") is not None


def _flex(q: Tensor, k: Tensor, v: Tensor) -> Call:
    from torch.nn.attention.flex_attention import create_block_mask

    tokens = q.shape[2]
    mask = create_block_mask(_near, None, None, tokens, tokens, device=str(q.device), BLOCK_SIZE=64)
    return lambda: _compiled()(q, k, v, block_mask=mask)


def _near(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
    return (query >= key) & (query - key < WINDOW)


@functools.cache
def _compiled() -> Callable[..., Tensor]:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention)  # type: ignore
