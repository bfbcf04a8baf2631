"""Dilated sliding window attention."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from memollm.attention.mechanisms.base import require_whole
from memollm.attention.mechanisms.sparse import KeyPositions, QueryPositions, Sparse, Visible
from memollm.attention.mechanisms.tiles import Span, Tile
from memollm.attention.mechanisms.window import window_tiles
from memollm.registry import register


@register("mechanism", "dilated")
@dataclass
class Dilated(Sparse):
    """softmax over every ``dilation``-th key, ``window_size`` of them.

    Causal: j = i, i - d, ..., i - (w - 1) d; bidirectional: as many after i. Keys that differ
    from i by a multiple of d never meet the others, so that each residue class is a sliding
    window of its own. O(queries * window) time, O(queries) memory. Longformer's (Beltagy et al.,
    2020, arXiv:2004.05150, section 3.1).
    Oracle: dense attention under ``visible``; dilation 1 is ``local``.
    """

    window_size: int = 256  # keys, the query's own included, >= 1
    dilation: int = 2  # tokens, >= 1

    def __post_init__(self) -> None:
        require_whole("window_size", self.window_size, 1)
        require_whole("dilation", self.dilation, 1)

    def visible(self, queries: QueryPositions, keys: KeyPositions, span: Span) -> Visible:
        distance = (queries - keys).abs()
        return (distance % self.dilation == 0) & (distance < self.window_size * self.dilation)

    def tiles(self, span: Span) -> Iterator[Tile]:
        for residue in range(self.dilation):
            yield from window_tiles(span, self.window_size, residue, self.dilation)
