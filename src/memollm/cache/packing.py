"""Packing: rows of a batch with their pads moved to the end.

Packed, the first token of every row is in the first place, so that all rows go through the same
chunks as they would alone.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int
from torch import Tensor


def packing(valid: Bool[Tensor, "batch queries"]) -> Int[Tensor, "batch queries"]:
    """Where each place of the packed rows comes from: the valid ones, in order, then the pads.

    >>> packing(torch.tensor([[False, True, True]]))
    tensor([[1, 2, 0]])
    """
    return (~valid).byte().argsort(dim=1, stable=True)


def pack(tensor: Tensor, order: Int[Tensor, "batch queries"]) -> Tensor:
    """A tensor (batch, heads, queries, dim) in packed order."""
    return tensor.gather(2, order[:, None, :, None].expand_as(tensor))


def unpack(
    tensor: Tensor, order: Int[Tensor, "batch queries"], valid: Bool[Tensor, "batch queries"]
) -> Tensor:
    """A packed tensor (batch, heads, queries, dim) in its first order, 0 on pads.

    Args:
        tensor: in packed order.
        order: as ``packing`` gave it.
        valid: in packed order.
    """
    kept = torch.where(valid[:, None, :, None], tensor, 0.0)
    return torch.empty_like(kept).scatter_(2, order[:, None, :, None].expand_as(kept), kept)
