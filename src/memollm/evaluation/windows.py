"""Windows of a text: which tokens go into one fresh cache, and which of them are scored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Window:
    """Tokens ``start`` to ``stop`` of a document are fed, those from ``first`` on are scored."""

    document: int
    start: int
    first: int
    stop: int

    @property
    def name(self) -> str:
        return f"{self.document}:{self.start}"


def windows(lengths: Iterable[int], room: int, step: int, opened: bool) -> list[Window]:
    """Every window of every document, in order; each token is scored once at most.

    Args:
        lengths: tokens of each document. One longer than ``room`` takes several windows, one
            shorter a window of its own size.
        room: most tokens a window.
        step: tokens from one window's start to the next. ``room``: they lie end to end; less:
            they overlap, and a token is scored in the first window it appears in.
        opened: whether something is fed before the window (a BOS token). If not, a window's
            first token has nothing to be predicted from and is not scored.

    >>> [(w.start, w.first, w.stop) for w in windows([10], room=4, step=4, opened=False)]
    [(0, 1, 4), (4, 5, 8), (8, 9, 10)]
    >>> [(w.start, w.first, w.stop) for w in windows([10], room=6, step=2, opened=False)]
    [(0, 1, 6), (2, 6, 8), (4, 8, 10)]
    """
    found = []
    for document, length in enumerate(lengths):
        stop = 0
        for start in range(0, length, step):
            first = max(stop, start if opened else start + 1)
            stop = min(start + room, length)
            if first < stop:
                found.append(Window(document, start, first, stop))
            if stop == length:
                break
    return found


def spread(every: Sequence[T], count: int) -> list[T]:
    """``count`` of the windows, evenly over the text; all of them if there are no more.

    >>> spread("abcdefgh", 3)
    ['a', 'c', 'f']
    """
    if count >= len(every):
        return list(every)
    return [every[i * len(every) // count] for i in range(count)]


def excerpts(lengths: Iterable[int], tokens: int, count: int) -> list[Window]:
    """``count`` windows of exactly ``tokens`` tokens of one document each, evenly over all.

    >>> [(w.document, w.start, w.stop) for w in excerpts([5, 1, 9], tokens=4, count=9)]
    [(0, 0, 4), (2, 0, 4), (2, 4, 8)]
    """
    every = windows(lengths, tokens, tokens, opened=True)
    return spread([window for window in every if window.stop - window.start == tokens], count)


def affordable(every: Sequence[Window], tokens: int) -> list[Window]:
    """As many of the windows, evenly over them, as hold no more than so many ``tokens`` together.

    >>> [w.document for w in affordable(windows([4, 4, 4], 4, 4, opened=True), tokens=9)]
    [0, 1]
    """
    total = sum(window.stop - window.start for window in every)
    count = len(every) if total <= tokens else len(every) * tokens // total
    while sum(window.stop - window.start for window in spread(every, count)) > tokens:
        count -= 1
    return spread(every, count)
