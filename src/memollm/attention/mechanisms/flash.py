"""Flash attention, second version: queries in the outer loop."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from memollm.attention.mechanisms.base import (
    Keys,
    Mechanism,
    Output,
    Queries,
    Values,
    require_whole,
)
from memollm.attention.mechanisms.scope import Scope
from memollm.attention.mechanisms.tiles import Span, Tile, tiled_attention
from memollm.registry import register


@dataclass
class Blockwise(Mechanism):
    """Exact attention of blocks of queries to blocks of keys, with a running softmax.

    With s_b the scores of a query in one block, and m, l, o its highest score, sum of weights and
    undivided outputs so far,

        m' = max(m, max s_b),   w_b = e^(s_b - m'),
        l' = e^(m - m') l + sum w_b,   o' = e^(m - m') o + w_b v_b;   in the end o / l.

    Blocks in the future are skipped. O(queries * keys) time, O(queries) memory, with masks and
    ALiBi, too.
    """

    hides_pads: ClassVar[bool] = True

    query_block: int = 256
    key_block: int = 512

    def __post_init__(self) -> None:
        require_whole("query_block", self.query_block, 1)
        require_whole("key_block", self.key_block, 1)

    @abc.abstractmethod
    def blocks(self, queries: int, keys: int) -> Iterator[tuple[int, int]]:
        """First query and first key of each pair of blocks, in the order of the loops."""

    def compute(
        self, queries: Queries, keys: Keys, values: Values, scope: Scope, weights: nn.Module | None
    ) -> Output:
        return self.with_sums(queries, keys, values, scope)[0]

    def with_sums(
        self, queries: Queries, keys: Keys, values: Values, scope: Scope
    ) -> tuple[Output, Tensor]:
        """Outputs and log-sum-exp (batch, heads, queries), which has no gradient."""
        count = queries.shape[2]

        def tiles(span: Span) -> Iterator[Tile]:
            for query, key in self.blocks(count, span.tokens):
                stop = min(query + self.query_block, count)
                end = min(key + self.key_block, span.tokens)
                first, last = span.first + query, span.first + stop  # positions
                if span.causal:
                    end = min(end, last)
                if key >= end:
                    continue
                hidden = ()
                if span.causal and end > first + 1:  # the diagonal crosses this block
                    some = max(key, first + 1)
                    future = span.positions(first, last)[:, None] < span.positions(some, end)
                    hidden = ((slice(some - key, end - key), future),)
                yield Tile(slice(query, stop), slice(key, end), hidden)

        return tiled_attention(queries, keys, values, scope, tiles, once=False)


@register("mechanism", "flash")
@dataclass
class Flash(Blockwise):
    """Each block of queries goes through the keys, and is done.

    Its running outputs stay where they are, and are divided once, at the end. Dao, 2023,
    arXiv:2307.08691, algorithm 1.
    Oracle: ``full``; log-sum-exp of the scores written out.
    """

    def blocks(self, queries: int, keys: int) -> Iterator[tuple[int, int]]:
        for query in range(0, queries, self.query_block):
            for key in range(0, keys, self.key_block):
                yield query, key
