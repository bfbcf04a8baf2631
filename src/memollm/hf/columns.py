"""From slots to columns: attention weights as the model counts tokens, pads and all."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memollm.cache.packing import packing

# Weights (batch, heads, queries, pairs) and the position of each pair (batch, pairs).
Block = tuple[Float[Tensor, "batch heads _ _"], Int[Tensor, "batch _"]]


def by_column(
    blocks: list[Block], padded: list[tuple[int, Bool[Tensor, "batch _"]]], columns: int
) -> Float[Tensor, "batch heads queries columns"]:
    """Weights of each block of queries, moved to the columns that the model counts.

    Args:
        blocks: weights and the positions of their slots, -1 for free ones.
        padded: first column and validity of every forward pass that had pads.
        columns: tokens seen so far, pads and all.
    """
    device, batch = blocks[0][0].device, blocks[0][0].shape[0]
    real = torch.ones(batch, columns, dtype=torch.bool, device=device)
    for start, valid in padded:
        real[:, start : start + valid.shape[1]] = valid[:, : columns - start]
    column_of = packing(real)  # by position
    parts = []
    for weights, position in blocks:
        spread = weights.new_zeros(*weights.shape[:3], columns + 1)
        column = column_of.gather(1, position.clamp(min=0).long())
        column = torch.where(position < 0, columns, column)
        parts.append(spread.scatter_(3, column[:, None, None].expand_as(weights), weights))
    return torch.cat(parts, dim=2)[..., :-1]
