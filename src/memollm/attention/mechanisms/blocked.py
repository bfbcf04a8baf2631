"""Sparse attention by blocks: what its mechanisms have in common."""

from __future__ import annotations

import abc
import random
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from memollm.attention.mechanisms.base import require_whole
from memollm.attention.mechanisms.sparse import (
    KeyPositions,
    QueryPositions,
    Sparse,
    Visible,
    joined,
)
from memollm.attention.mechanisms.tiles import Span, Tile


@dataclass
class Blocked(Sparse):
    """All queries of a block see the same blocks of keys."""

    block_size: int = 64  # tokens, >= 1

    def __post_init__(self) -> None:
        require_whole("block_size", self.block_size, 1)

    @abc.abstractmethod
    def blocks(self, block: int, last: int) -> set[int]:
        """Which of the blocks of keys 0 ... ``last`` a block of queries sees, its own included.

        ``last`` is the queries' own block in causal attention, so that what is yet to come
        decides nothing.
        """

    def visible(self, queries: QueryPositions, keys: KeyPositions, span: Span) -> Visible:
        total = -(-span.tokens // self.block_size)
        table = torch.zeros(total, total, dtype=torch.bool, device=span.device)
        for block in range(total):
            table[block, sorted(self._seen(block, span))] = True
        return table[queries // self.block_size, keys // self.block_size]

    def tiles(self, span: Span) -> Iterator[Tile]:
        size = self.block_size
        for block in range(span.first // size, -(-span.tokens // size)):
            start, stop = max(span.first, block * size), min(span.tokens, (block + 1) * size)
            ranges = [
                (it * size, min((it + 1) * size, stop if span.causal else span.tokens))
                for it in sorted(self._seen(block, span))
            ]
            hidden = ()
            if span.causal:
                future = span.positions(start, stop)[:, None] < span.positions(start, stop)
                seen = sum(end - begin for begin, end in ranges)
                hidden = ((slice(seen - (stop - start), seen), future),)
            yield Tile(slice(start - span.first, stop - span.first), joined(span, ranges), hidden)

    def _seen(self, block: int, span: Span) -> set[int]:
        return self.blocks(block, block if span.causal else (span.tokens - 1) // self.block_size)


def near(block: int, last: int, neighbours: int) -> set[int]:
    """The block itself and ``neighbours`` to each side."""
    return set(range(max(0, block - neighbours), min(last, block + neighbours) + 1))


def drawn(block: int, others: set[int], number: int, seed: int) -> set[int]:
    """``number`` of ``others``, by lot: the same at every call, whatever else is drawn."""
    lots = random.Random(f"{seed} {block}")
    return set(lots.sample(sorted(others), min(number, len(others))))
