"""Shapes of native sparse attention, as types, and the way from heads to groups and back.

The arguments of the public call lie as (batch, tokens, heads, dim). Query heads share key-value
heads in groups of ``heads // kv_heads`` neighbours; inside, a group's heads lie beside each other
as rows of one matrix, so that they read their keys once.

The queries are the last ``queries`` of the ``keys`` tokens: equal numbers for a whole text, fewer
queries when decoding.
"""

from __future__ import annotations

from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

Queries: TypeAlias = Float[Tensor, "batch queries heads dim"]
Keys: TypeAlias = Float[Tensor, "batch keys kv_heads dim"]
Values: TypeAlias = Float[Tensor, "batch keys kv_heads value_dim"]
Output: TypeAlias = Float[Tensor, "batch queries heads value_dim"]
Gate: TypeAlias = Float[Tensor, "batch queries heads"]
# ln of the sum of exp(score) over what a query sees; 0 for a query that sees nothing.
LogSumExp: TypeAlias = Float[Tensor, "batch heads queries"]
# Blocks that a query may look into, as a set: order and repetition say nothing, -1 is no block.
BlockIndices: TypeAlias = Int[Tensor, "batch queries kv_heads selected"]


def wide(dtype: torch.dtype) -> torch.dtype:
    """The type in which scores are computed and sums are kept: float32 at least."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def exact(tensor: Tensor) -> torch.autocast:
    """Inside it, products are in the type of their factors, whatever autocast is at work outside.

    Kernels that choose their own types need it, in their backward passes, too.
    """
    return torch.autocast(tensor.device.type, enabled=False)


def grouped(queries: Queries, kv_heads: int) -> Float[Tensor, "batch kv_heads queries group dim"]:
    """Queries (or anything per query head) by the key-value head that they share."""
    return queries.unflatten(2, (kv_heads, -1)).permute(0, 2, 1, 3, 4)


def ungrouped(
    outputs: Float[Tensor, "batch kv_heads queries group dim"],
) -> Float[Tensor, "batch queries heads dim"]:
    """The inverse of ``grouped``."""
    return outputs.permute(0, 2, 1, 3, 4).flatten(2, 3)


def per_head(sums: Float[Tensor, "batch kv_heads queries group"]) -> LogSumExp:
    """One number per query and head, from groups into the order of ``LogSumExp``."""
    return sums.transpose(2, 3).flatten(1, 2)


def per_group(sums: LogSumExp, kv_heads: int) -> Float[Tensor, "batch kv_heads queries group"]:
    """The inverse of ``per_head``."""
    return sums.unflatten(1, (kv_heads, -1)).transpose(2, 3)
