"""Surprisal of the tokens that stream through a model, for strengths that are born of it.

Logits come when a forward pass is over, so its tokens are given their strength then, and layers
forget then. A pass therefore holds one chunk at most, and logits of all of its tokens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memollm.hf.layer import MemoryLayer
from memollm.memory.strength.surprisal import Surprisal, surprisal


@dataclass
class Pass:
    """The forward pass under way, as it was asked for."""

    ids: Int[Tensor, "batch new"]
    valid: Bool[Tensor, "batch new"] | None
    keep: int  # last tokens whose logits were asked for; 0: all


def begin(call: dict[str, Any], valid: Tensor | None, chunk: int, candidates: int) -> Pass:
    """Have the model give logits of every token.

    Args:
        call: what it will be called with; changed.
        valid: False on pads.
        chunk: most tokens of one pass.
        candidates: how many of the tokens may be taken back.

    Raises:
        ValueError: for a pass whose tokens would be forgotten too late, or taken back.
    """
    ids = call.get("input_ids")
    if ids is None:
        raise ValueError("strength=surprisal needs input_ids: embeddings tell no tokens")
    if candidates:
        raise ValueError("strength=surprisal is not supported with assisted decoding")
    if ids.shape[1] > chunk or (valid is not None and ids.shape[1] == chunk and not valid.all()):
        raise ValueError(
            "strength=surprisal forgets after each forward pass, which can hold one chunk only: "
            f"{ids.shape[1]} tokens were passed, memory.prefill_chunk={chunk}. Pass the prompt in "
            "chunks (generate(..., prefill_chunk_size=...)), and padded rows in less than one"
        )
    keep = call.get("logits_to_keep", 0)
    if not isinstance(keep, int):
        raise ValueError("logits_to_keep as a tensor is not supported with strength=surprisal")
    if keep:
        call["logits_to_keep"] = 0
    return Pass(ids, valid, keep)


@torch.no_grad()
def finish(now: Pass, logits: Float[Tensor, "batch new _"], layers: list[MemoryLayer]) -> Tensor:
    """Give the pass's tokens their strength, and let the layers forget; the logits asked for."""
    first, birth = layers[0], layers[0].remembering.memory.birth
    assert isinstance(birth, Surprisal)
    nll = surprisal(logits, first.expected, now.ids.to(logits.device))
    if now.valid is not None:
        new_row = first.remembering.seen.to(logits.device) == now.valid.sum(dim=1)
        begins = (now.valid.cumsum(dim=1) == 1) & now.valid & new_row[:, None]
        nll = nll.masked_fill(begins, math.log(logits.shape[-1]))
    first.expected = logits[:, -1].clone()
    strength = birth.strength(nll, first.remembering.memory.strength)
    for layer in layers:
        layer.remembering.settle_late(strength)
    return logits[:, -now.keep :]
