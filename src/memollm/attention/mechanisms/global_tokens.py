"""Global attention: a few tokens that see all and are seen by all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from memollm.attention.mechanisms.anchored import anchored_tiles
from memollm.attention.mechanisms.base import require_whole
from memollm.attention.mechanisms.sparse import KeyPositions, QueryPositions, Sparse, Visible
from memollm.attention.mechanisms.tiles import Span, Tile
from memollm.registry import register


@register("mechanism", "global")
@dataclass
class Global(Sparse):
    """softmax over the first ``global_tokens`` and the query's own; those see everything.

    What joins distant tokens in ETC and Longformer (Ainslie et al., 2020, arXiv:2004.08483;
    Beltagy et al., 2020, arXiv:2004.05150), by itself. O(N global_tokens) time, O(N) memory.
    Oracle: dense attention under ``visible``; all tokens global is ``full``.
    """

    global_tokens: int = 16  # the first ones, >= 0

    def __post_init__(self) -> None:
        require_whole("global_tokens", self.global_tokens, 0)

    def visible(self, queries: QueryPositions, keys: KeyPositions, span: Span) -> Visible:
        return (queries == keys) | (keys < self.global_tokens) | (queries < self.global_tokens)

    def tiles(self, span: Span) -> Iterator[Tile]:
        return anchored_tiles(span, 1, self.global_tokens)
