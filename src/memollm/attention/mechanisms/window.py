"""Tiles of a sliding window, over all positions or over those of one residue class."""

from __future__ import annotations

from collections.abc import Iterator

from jaxtyping import Bool
from torch import Tensor

from memollm.attention.mechanisms.tiles import Span, Tile


def window_tiles(span: Span, window: int, residue: int = 0, step: int = 1) -> Iterator[Tile]:
    """A window of ``window`` places to each side over the positions residue, residue + step, ...

    Causal: to the left side only. The query's own place is one of the ``window``.
    """
    places = len(range(residue, span.tokens, step))
    first = len(range(residue, span.first, step))  # place of the first query
    ahead = 0 if span.causal else window - 1
    size = span.band(min(window + ahead, places))
    masks: dict[tuple[int, int, int], Bool[Tensor, "_ _"]] = {}

    def hidden(start: int, stop: int, begin: int, end: int) -> Bool[Tensor, "_ _"]:
        # Distances alone matter, and these are the same in all chunks but the first and the last.
        shape = (start - begin, stop - start, end - begin)
        if shape not in masks:
            lead, queries, keys = shape
            ago = span.positions(lead, lead + queries)[:, None] - span.positions(0, keys)
            masks[shape] = (ago >= window) | (ago < -ahead)
        return masks[shape]

    for start in range(first, places, size):
        stop = min(start + size, places)
        begin, end = max(0, start - window + 1), min(places, stop + ahead)
        # Seen by all of the chunk: from the last query's window on to the first query's.
        common = min(max(begin, stop - window), end), min(end, start + ahead + 1)
        common = common[0], max(common)
        patches = []
        for left, right in ((begin, common[0]), (common[1], end)):
            if left < right:
                mask = hidden(start, stop, left, right)
                patches.append((slice(left - begin, right - begin), mask))
        yield Tile(
            slice(residue + step * start - span.first, residue + step * stop - span.first, step),
            slice(residue + step * begin, residue + step * end, step),
            tuple(patches),
        )
