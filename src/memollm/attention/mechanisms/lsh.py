"""Locality-sensitive hashing: queries and keys of the same bucket meet."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from memollm.attention.mechanisms.base import (
    Keys,
    Mechanism,
    Output,
    Queries,
    Supports,
    Values,
    require_whole,
)
from memollm.attention.mechanisms.scope import Scope
from memollm.attention.mechanisms.tiles import Span, Tile, tiled_attention
from memollm.registry import register

OWN_ROWS = 128  # queries of a tile that holds nothing but their own keys


@register("mechanism", "lsh")
@dataclass
class LSH(Mechanism):
    """softmax over the keys that fall into the query's bucket, in any of several rounds.

    The bucket of x is argmax [x R, -x R] for a random R (dim, buckets / 2), drawn anew for each
    round (Andoni et al., 2015, arXiv:1509.02897). A pair that meets in n of the rounds weighs n
    e^score, which is what joining the rounds by their log-sum-exp comes to (Kitaev et al., 2020,
    arXiv:2001.04451, section 2); a token meets itself in every round. Unlike Reformer, queries and
    keys differ and buckets are not cut into chunks, so that what a query sees does not depend on
    what comes later.
    O(rounds * sum of squared bucket sizes) time, O(queries) memory.
    Oracle: dense attention with ln n added to the scores; one bucket is ``full``.
    """

    supports: ClassVar[Supports] = Supports()

    buckets: int = 32  # 1, or an even number
    rounds: int = 2  # >= 1
    seed: int = 0

    def __post_init__(self) -> None:
        require_whole("buckets", self.buckets, 1)
        require_whole("rounds", self.rounds, 1)
        if self.buckets > 1 and self.buckets % 2:
            raise ValueError(f"buckets must be 1 or even, got {self.buckets}")

    def bucket(self, vectors: Float[Tensor, "*lead dim"], at: int) -> Int[Tensor, "*lead"]:
        """Buckets of queries or keys in round ``at``."""
        if self.buckets == 1:
            return torch.zeros(vectors.shape[:-1], dtype=torch.long, device=vectors.device)
        turned = vectors.detach().float() @ _rotation(
            vectors.shape[-1], self.buckets // 2, self.seed, at
        ).to(vectors.device)
        return torch.cat([turned, -turned], dim=-1).argmax(-1)

    def compute(
        self, queries: Queries, keys: Keys, values: Values, scope: Scope, weights: nn.Module | None
    ) -> Output:
        group = queries.shape[1] // keys.shape[1]
        rows = []
        for row in range(len(queries)):
            heads = []
            for head in range(queries.shape[1]):
                mine = (slice(row, row + 1), slice(head, head + 1))
                shared = (slice(row, row + 1), slice(head // group, head // group + 1))
                heads.append(
                    self._head(
                        queries[mine], keys[shared], values[shared], _of_head(scope, row, head)
                    )
                )
            rows.append(torch.cat(heads, dim=1))
        return torch.cat(rows)

    def _head(self, queries: Tensor, keys: Tensor, values: Tensor, scope: Scope) -> Tensor:
        rounds = range(self.rounds)
        asking = [self.bucket(queries[0, 0], at) for at in rounds]
        asked = [self.bucket(keys[0, 0], at) for at in rounds]
        own = 0 if scope.cross else queries.shape[2]

        def tiles(span: Span) -> Iterator[Tile]:
            for at in rounds:
                yield from _meetings(span, asking[at], asked[at], own > 0)
                for start in range(0, own, OWN_ROWS):
                    here = slice(start, min(start + OWN_ROWS, own))
                    some = span.positions(here.start, here.stop)
                    keys = slice(span.first + here.start, span.first + here.stop)
                    yield Tile(here, keys, ((slice(None), some[:, None] != some),))

        return tiled_attention(queries, keys, values, scope, tiles, once=False)[0]


def _meetings(span: Span, asking: Tensor, asked: Tensor, without_own: bool) -> Iterator[Tile]:
    """A tile, or several, for each bucket in which there are queries and keys."""
    for bucket in asking.unique().tolist():
        keys = (asked == bucket).nonzero()[:, 0]
        if not len(keys):
            continue
        for queries in (asking == bucket).nonzero()[:, 0].split(span.rows(len(keys))):
            hidden = ()
            if without_own:
                position = queries[:, None] + span.first
                unseen = keys >= position if span.causal else keys == position
                hidden = ((slice(None), unseen),)
            yield Tile(queries, keys, hidden)


def _of_head(scope: Scope, row: int, head: int) -> Scope:
    mask, slopes = scope.mask, scope.slopes
    if mask is not None:
        mask = mask[row : row + 1] if len(mask) > 1 else mask
        mask = mask[:, head : head + 1] if mask.shape[1] > 1 else mask
    return replace(scope, mask=mask, slopes=None if slopes is None else slopes[head : head + 1])


@functools.lru_cache(maxsize=64)
def _rotation(dim: int, directions: int, seed: int, at: int) -> Float[Tensor, "dim directions"]:
    lots = torch.Generator().manual_seed(1000003 * seed + at)
    return torch.randn(dim, directions, generator=lots)
