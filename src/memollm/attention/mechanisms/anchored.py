"""Tiles of a sliding window with global tokens: they see all, and all see them."""

from __future__ import annotations

from collections.abc import Iterator

from memollm.attention.mechanisms.sparse import joined
from memollm.attention.mechanisms.tiles import Span, Tile


def anchored_tiles(span: Span, window: int, anchors: int) -> Iterator[Tile]:
    """The first ``anchors`` tokens are global; the window is as in ``window_tiles``."""
    yield from _of_anchors(span, min(anchors, span.tokens))
    ahead = 0 if span.causal else window - 1
    size = span.band(window + ahead + anchors)
    for start in range(max(span.first, anchors), span.tokens, size):
        stop = min(start + size, span.tokens)
        begin, end = max(anchors, start - window + 1), min(span.tokens, stop + ahead)
        ago = span.positions(start, stop)[:, None] - span.positions(begin, end)
        hidden = (ago >= window) | (ago < -ahead)
        keys = joined(span, [(0, anchors), (begin, end)])
        near = slice(anchors, anchors + end - begin)
        yield Tile(slice(start - span.first, stop - span.first), keys, ((near, hidden),))


def _of_anchors(span: Span, anchors: int) -> Iterator[Tile]:
    size = span.rows(span.tokens)
    for start in range(span.first, anchors, size):
        stop = min(start + size, anchors)
        rows = slice(start - span.first, stop - span.first)
        if span.causal:
            future = span.positions(start, stop)[:, None] < span.positions(start, stop)
            yield Tile(rows, slice(0, stop), ((slice(start, stop), future),))
        else:
            yield Tile(rows, slice(0, span.tokens))
