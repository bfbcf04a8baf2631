"""Compression: attention to complete blocks through their means, and what it says of them.

A query at position t sees block c through the mean of its keys and the mean of its values once
the block is complete: (c + 1) block_size - 1 <= t. The weights, summed over a group of query
heads, are the scores by which blocks are selected (Yuan et al., 2025, arXiv:2502.11089, equations
7, 8 and 10, with means in place of a learned compression, as in flash-linear-attention).

Time is in O(queries * keys / block_size), memory in O(queries).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from memollm.nsa.choice import chosen
from memollm.nsa.chunked import View, chunked_attention
from memollm.nsa.layout import BlockIndices, LogSumExp, Output, Queries
from memollm.nsa.means import Means


@dataclass(frozen=True)
class CompleteBlocks(View):
    """The blocks that have ended, by the query's own token at the latest."""

    block_size: int  # tokens

    def seen(self, start: int, stop: int) -> slice:
        return slice(0, stop // self.block_size)

    def seen_by_all(self, start: int, stop: int) -> slice:
        return slice(0, (start + 1) // self.block_size)

    def hidden(
        self, queries: slice, keys: slice, device: torch.device
    ) -> Bool[Tensor, "queries 1 keys"]:
        position = torch.arange(queries.start, queries.stop, device=device)
        block = torch.arange(keys.start, keys.stop, device=device)
        return ((block + 1) * self.block_size - 1 > position[:, None]).unsqueeze(1)


def compressed_attention(
    queries: Queries,
    key_means: Means,
    value_means: Float[Tensor, "batch blocks kv_heads value_dim"],
    first: int,
    block_size: int,
    scale: float,
) -> tuple[Output, LogSumExp]:
    """Outputs and log-sum-exp, 0 where no block is complete yet.

    The outputs are float32 at least; the log-sum-exp is not differentiable.
    """
    view = CompleteBlocks(block_size)
    return chunked_attention(queries, key_means, value_means, view, first, scale)


def compressed_attention_and_choice(
    queries: Queries,
    key_means: Means,
    value_means: Float[Tensor, "batch blocks kv_heads value_dim"],
    first: int,
    block_size: int,
    scale: float,
    selected: int,
) -> tuple[Output, LogSumExp, BlockIndices]:
    """As ``compressed_attention``, and the blocks that each query selects by it."""
    batch, count = queries.shape[:2]
    shape = (batch, count, key_means.shape[2], selected)
    indices = torch.full(shape, -1, dtype=torch.long, device=queries.device)
    own = torch.arange(first, first + count, device=queries.device) // block_size

    def choose(chunk: slice, scores: Tensor) -> None:
        indices[:, chunk] = chosen(scores, own[chunk], selected).transpose(1, 2)

    view = CompleteBlocks(block_size)
    outputs, lse = chunked_attention(
        queries, key_means, value_means, view, first, scale, observe=choose
    )
    return outputs, lse, indices
