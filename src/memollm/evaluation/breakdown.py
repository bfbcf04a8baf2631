"""Breaking a score down: by how far into a context a token stands, by how far back it recurs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

NEAREST = 64  # tokens; within it everything is recent, under any sensible memory


def bucket(tokens: int) -> str:
    """The power-of-two range that a number of tokens falls into, as ``<from>_<below>``.

    >>> bucket(0), bucket(63), bucket(64), bucket(4095), bucket(4096)
    ('0_64', '0_64', '64_128', '2048_4096', '4096_8192')
    """
    if tokens < NEAREST:
        return f"0_{NEAREST}"
    low = 1 << (tokens.bit_length() - 1)
    return f"{low}_{2 * low}"


def recurrence(ids: Sequence[int], order: int) -> list[int | None]:
    """How many tokens back the ``order`` tokens ending at each place last ended; None: never.

    >>> recurrence([7, 8, 9, 7, 8, 7, 8], order=2)
    [None, None, None, None, 3, None, 2]
    """
    last: dict[tuple[int, ...], int] = {}
    found: list[int | None] = []
    for i in range(len(ids)):
        ending = tuple(ids[i - order + 1 : i + 1]) if i >= order - 1 else None
        seen = None if ending is None else last.get(ending)
        found.append(None if seen is None else i - seen)
        if ending is not None:
            last[ending] = i
    return found


def tally(names: Iterable[str], losses: Iterable[float]) -> dict[str, list[float | int]]:
    """Number and sum of the losses under each name."""
    members: dict[str, list[float]] = {}
    for name, loss in zip(names, losses, strict=True):
        members.setdefault(name, []).append(loss)
    return {name: [len(found), math.fsum(found)] for name, found in members.items()}


def ratio(parts: Sequence[tuple[float | int, float | int]]) -> tuple[float, float | None]:
    """Sum over sum of (numerator, denominator), and its standard error.

    The parts are clusters: tokens of one window share a text and an author, and counting them
    as independent would make the error several times too small. The error is the ratio
    estimator's (Cochran, Sampling Techniques, 1977, section 2.11); one part has none.

    >>> ratio([(2.0, 1.0), (4.0, 1.0)])
    (3.0, 1.0)
    """
    total = math.fsum(size for _, size in parts)
    if not total:
        raise ValueError("nothing was scored, so there is nothing to average")
    value = math.fsum(amount for amount, _ in parts) / total
    n = len(parts)
    if n == 1:
        return value, None
    squares = math.fsum((amount - value * size) ** 2 for amount, size in parts)
    return value, math.sqrt(squares * n / (n - 1)) / total
