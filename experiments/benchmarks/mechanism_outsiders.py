"""Attention of other libraries, where they are installed, without projections.

    pip install x-transformers flash-linear-attention triton

Everything is compared with what it stands beside before it is timed. On a CPU
flash-linear-attention has its plain PyTorch functions alone (``naive``), which are its references,
not its kernels; flex_attention's compiled kernel has no backward pass there (torch 2.13).
"""

from __future__ import annotations

import functools
import importlib.util
import shutil
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import elu, scaled_dot_product_attention

from memollm.attention.mechanisms.linear import Linear
from memollm.attention.mechanisms.local import Local

WINDOW = 512  # tokens
CLOSE = 2e-5  # float32, of values of size about 1

Call = Callable[[], Tensor]


@dataclass(frozen=True)
class Outsider:
    """Causal attention by another library."""

    call: Call
    counted: bool = True  # False: compiled, so that tensors it holds are not seen


def available() -> dict[str, bool]:
    """Which libraries take part."""
    return {
        "flex_attention": any(shutil.which(it) for it in ("c++", "g++", "clang++")),
        "x_transformers": importlib.util.find_spec("x_transformers") is not None,
        "fla": has_fla(),
    }


def has_fla() -> bool:
    """Whether flash-linear-attention can be imported: it needs Triton, on a CPU, too."""
    return all(importlib.util.find_spec(it) is not None for it in ("fla", "triton"))


def outsiders(q: Tensor, k: Tensor, v: Tensor) -> dict[str, Outsider]:
    """Those that are there, known to agree with what they stand beside."""
    there, found = available(), {}
    if there["flex_attention"] and not q.requires_grad:
        found["flex window"] = Outsider(_flex(q, k, v), counted=False)
        _agree(found["flex window"], Local(WINDOW).attend(q, k, v))
    if there["x_transformers"]:
        from x_transformers.attend import Attend  # type: ignore

        attention = Attend(causal=True, flash=True)
        found["x-transformers"] = Outsider(lambda: attention(q, k, v)[0])
        _agree(found["x-transformers"], scaled_dot_product_attention(q, k, v, is_causal=True))
    if there["fla"]:
        found["fla naive linear"] = Outsider(_fla_linear(q, k, v))
        _agree(found["fla naive linear"], Linear().attend(q, k, v))
    return found


def _agree(outsider: Outsider, wanted: Tensor) -> None:
    with torch.no_grad():
        torch.testing.assert_close(outsider.call(), wanted, rtol=0, atol=CLOSE)


def _fla_linear(q: Tensor, k: Tensor, v: Tensor) -> Call:
    from fla.ops.linear_attn.naive import naive_chunk_linear_attn  # type: ignore

    def call() -> Tensor:
        queries, keys = ((elu(it) + 1).transpose(1, 2) for it in (q, k))
        out = naive_chunk_linear_attn(queries, keys, v.transpose(1, 2), scale=1.0, normalize=True)
        return out.transpose(1, 2)

    return call


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
