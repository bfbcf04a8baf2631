"""Strided attention of Sparse Transformers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from memollm.attention.mechanisms.base import require_whole
from memollm.attention.mechanisms.sparse import KeyPositions, QueryPositions, Sparse, Visible
from memollm.attention.mechanisms.tiles import Span, Tile
from memollm.attention.mechanisms.window import window_tiles
from memollm.registry import register


@register("mechanism", "strided")
@dataclass
class Strided(Sparse):
    """softmax over the last ``stride`` keys and every ``stride``-th key.

    j with |i - j| < stride or (i - j) mod stride = 0. O(N (stride + N / stride)) time, best at
    stride = sqrt(N): O(N sqrt(N)); O(queries) memory. Child et al., 2019, arXiv:1904.10509,
    section 4.3, both of its parts in one softmax.
    Oracle: dense attention under ``visible``; stride 1 is ``full``.
    """

    once: ClassVar[bool] = False

    stride: int = 64  # tokens, >= 1

    def __post_init__(self) -> None:
        require_whole("stride", self.stride, 1)

    def visible(self, queries: QueryPositions, keys: KeyPositions, span: Span) -> Visible:
        distance = (queries - keys).abs()
        return (distance < self.stride) | (distance % self.stride == 0)

    def tiles(self, span: Span) -> Iterator[Tile]:
        yield from window_tiles(span, self.stride)
        for residue in range(self.stride):
            yield from self._column(span, residue)

    def _column(self, span: Span, residue: int) -> Iterator[Tile]:
        """Positions residue, residue + stride, ... with each other, but none with itself."""
        places = len(range(residue, span.tokens, self.stride))
        first = len(range(residue, span.first, self.stride))
        size = span.rows(places)
        for start in range(first, places, size):
            stop = min(start + size, places)
            end = stop - 1 if span.causal else places
            if end < 1:
                continue
            query, key = span.positions(start, stop)[:, None], span.positions(start, min(stop, end))
            hidden = key >= query if span.causal else key == query
            rows = residue + self.stride * start, residue + self.stride * stop
            yield Tile(
                slice(rows[0] - span.first, rows[1] - span.first, self.stride),
                slice(residue, residue + self.stride * end, self.stride),
                ((slice(start, start + len(key)), hidden),),
            )
