"""A learned pattern: each query asks a trained selector which blocks to look into."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Int
from torch import Tensor, nn

from memollm.attention.mechanisms.base import (
    HeadShape,
    Keys,
    Mechanism,
    Output,
    Queries,
    Supports,
    Values,
    require_whole,
)
from memollm.attention.mechanisms.scope import Scope
from memollm.nsa.block_major import block_major
from memollm.registry import register


class BlockSelector(nn.Module):
    """Maps queries and means of keys to where their products say which blocks matter."""

    def __init__(self, head_dim: int, rank: int) -> None:
        super().__init__()
        self.queries = nn.Linear(head_dim, rank, bias=False)
        self.keys = nn.Linear(head_dim, rank, bias=False)


@register("mechanism", "learnable")
@dataclass
class Learnable(Mechanism):
    """softmax over the query's own block and the ``block_counts`` - 1 best complete ones before.

    The best have the largest u(q) . w(mean of the block's keys), summed over the query heads that
    share the keys; u and w (head_dim, rank) are learned. The choice has no gradient; in its place
    u and w get that of the score u . w if it were added to the logits (a straight-through
    estimate, Bengio et al., 2013, arXiv:1308.3432), which leaves the outputs as they are, and the
    gradients of q and k, too. For a key in an incomplete block the mean is that of the block so
    far. Trained selectors of blocks: Gao et al., 2024, arXiv:2410.13276.
    O(N block_counts block_size + N^2 rank / block_size) time, O(N^2 / block_size) memory.
    Oracle: dense attention over the chosen blocks; all blocks chosen is ``full``.
    """

    supports: ClassVar[Supports] = Supports(
        bidirectional=False, mask=False, cross=False, slopes=False
    )

    block_size: int = 64  # tokens, >= 1
    block_counts: int = 8  # blocks of a query, its own included, >= 1
    rank: int = 16  # >= 1

    def __post_init__(self) -> None:
        require_whole("block_size", self.block_size, 1)
        require_whole("block_counts", self.block_counts, 1)
        require_whole("rank", self.rank, 1)

    def weights(self, shape: HeadShape) -> BlockSelector:
        return BlockSelector(shape.head_dim, self.rank)

    def compute(
        self, queries: Queries, keys: Keys, values: Values, scope: Scope, weights: nn.Module | None
    ) -> Output:
        if not isinstance(weights, BlockSelector):
            raise ValueError(f"learnable needs the weights that it makes, got {weights!r}")
        scale = queries.shape[-1] ** -0.5 if scope.scale is None else scope.scale
        asking = weights.queries(queries.detach())
        asked = weights.keys(self._means(keys.detach()))
        chosen = self.choose(asking.detach(), asked.detach())
        if torch.is_grad_enabled() and asking.requires_grad:
            # u . w - (u . w without gradients) is 0: nothing but a way back for gradients.
            asking = asking / scale
            queries = torch.cat([queries, asking, -asking.detach()], dim=-1)
            keys = torch.cat([keys, asked, asked.detach()], dim=-1)
        q, k, v = (it.transpose(1, 2) for it in (queries, keys, values))
        return block_major(q, k, v, chosen, self.block_size, scale)[0].transpose(1, 2)

    def choose(self, asking: Tensor, asked: Tensor) -> Int[Tensor, "batch queries kv_heads some"]:
        """The blocks of each query, -1 for none; the first of equals.

        Args:
            asking: u (batch, heads, queries, rank).
            asked: w of every key (batch, kv_heads, keys, rank), complete blocks at their ends.
        """
        count, tokens, size = asking.shape[2], asked.shape[2], self.block_size
        position = torch.arange(tokens - count, tokens, device=asking.device)
        own = position // size
        total = asking.unflatten(1, (asked.shape[1], -1)).sum(2)
        complete = asked[:, :, size - 1 :: size]
        scores = (total @ complete.mT).masked_fill(
            torch.arange(complete.shape[2], device=own.device) >= own[:, None], -torch.inf
        )
        number = min(self.block_counts - 1, complete.shape[2])
        best = scores.sort(stable=True, dim=-1, descending=True)
        others = best.indices[..., :number].masked_fill(best.values[..., :number].isinf(), -1)
        own = own[:, None].expand(*others.shape[:-1], 1)
        return torch.cat([own, others], dim=-1).transpose(1, 2)

    def _means(self, keys: Tensor) -> Tensor:
        """For every key, the mean of its block's keys up to itself."""
        size, tokens = self.block_size, keys.shape[2]
        padded = nn.functional.pad(keys, (0, 0, 0, -tokens % size)).unflatten(2, (-1, size))
        places = torch.arange(1, size + 1, device=keys.device, dtype=keys.dtype)
        return (padded.cumsum(3) / places[:, None]).flatten(2, 3)[:, :, :tokens]
