"""Longformer: a sliding window and global tokens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from memollm.attention.mechanisms.anchored import anchored_tiles
from memollm.attention.mechanisms.base import require_whole
from memollm.attention.mechanisms.sparse import KeyPositions, QueryPositions, Sparse, Visible
from memollm.attention.mechanisms.tiles import Span, Tile
from memollm.registry import register


@register("mechanism", "longformer")
@dataclass
class Longformer(Sparse):
    """softmax over the window of ``local`` and the first ``global_tokens``; those see everything.

    O(N (window + global_tokens)) time, O(N) memory. Beltagy et al., 2020, arXiv:2004.05150,
    section 3.1, global tokens with the projections of all others.
    Oracle: dense attention under ``visible``; without global tokens it is ``local``.
    """

    window_size: int = 256  # tokens, >= 1
    global_tokens: int = 16  # the first ones, >= 0

    def __post_init__(self) -> None:
        require_whole("window_size", self.window_size, 1)
        require_whole("global_tokens", self.global_tokens, 0)

    def visible(self, queries: QueryPositions, keys: KeyPositions, span: Span) -> Visible:
        near = (queries - keys).abs() < self.window_size
        return near | (keys < self.global_tokens) | (queries < self.global_tokens)

    def tiles(self, span: Span) -> Iterator[Tile]:
        return anchored_tiles(span, self.window_size, self.global_tokens)
