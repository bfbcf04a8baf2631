"""Local attention: a sliding window."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from memollm.attention.mechanisms.base import require_whole
from memollm.attention.mechanisms.sparse import KeyPositions, QueryPositions, Sparse, Visible
from memollm.attention.mechanisms.tiles import Span, Tile
from memollm.attention.mechanisms.window import window_tiles
from memollm.registry import register


@register("mechanism", "local")
@dataclass
class Local(Sparse):
    """softmax over the keys at distance < ``window_size``.

    Causal: the last ``window_size`` tokens, the query's own included; bidirectional: as many to
    each side. O(queries * window) time, O(queries) memory. Sliding windows are Longformer's
    (Beltagy et al., 2020, arXiv:2004.05150).
    Oracle: dense attention under ``visible``; a window of all tokens is ``full``.
    """

    window_size: int = 256  # tokens, >= 1

    def __post_init__(self) -> None:
        require_whole("window_size", self.window_size, 1)

    def visible(self, queries: QueryPositions, keys: KeyPositions, span: Span) -> Visible:
        return (queries - keys).abs() < self.window_size

    def tiles(self, span: Span) -> Iterator[Tile]:
        return window_tiles(span, self.window_size)
