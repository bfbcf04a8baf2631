"""Medians of repeated timings, and how sure they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RESAMPLES = 300
SEED = 0


def median(groups: Sequence[Sequence[float]]) -> tuple[float, float | None]:
    """The median of all values, and its bootstrap standard error; one value has none.

    Values of one group were measured together (on the same caches, beside the same
    neighbours) and err together: groups are drawn first, then values within them.

    >>> median([[1.0, 2.0, 3.0], [2.0, 2.0, 90.0]])[0]
    2.0
    >>> median([[2.0]])
    (2.0, None)
    """
    filled = [np.asarray(group, dtype=float) for group in groups if len(group)]
    if not filled:
        raise ValueError("no values have no median")
    every = np.concatenate(filled)
    if len(every) == 1:
        return float(every[0]), None
    rng = np.random.default_rng(SEED)  # the same samples give the same error
    drawn = []
    for _ in range(RESAMPLES):
        chosen = rng.integers(len(filled), size=len(filled))
        values = [filled[i][rng.integers(len(filled[i]), size=len(filled[i]))] for i in chosen]
        drawn.append(np.median(np.concatenate(values)))
    return float(np.median(every)), float(np.std(drawn, ddof=1))
