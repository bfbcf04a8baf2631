"""Which setting matters? The share of a result's variance over cells that a setting explains."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from memollm.statistics.intervals import CONFIDENCE, SEED
from memollm.statistics.signs import FEWEST

RESAMPLES = 1999
BATCH = 100  # resamples in memory at a time
TOLD = 0.9  # of the resamples must tell something


@dataclass(frozen=True)
class Explained:
    """What a setting does on its own, whatever the others do."""

    share: float  # epsilon squared; below 0: less than chance alone would explain
    interval: tuple[float, float] | None  # of 95 %, over cells; None: none can be given
    p: float  # of as much by chance


def explained(values: Sequence[float], levels: Sequence[Hashable]) -> Explained | None:
    """The share of the variance of ``values`` that lies between ``levels``.

    Epsilon squared (Kelley, 1935, PNAS 21, 554-559), which unlike eta squared does not grow with
    the number of levels: (SS_between - (k - 1) MS_within) / SS_total. Its interval is a BCa
    bootstrap over cells, p from shuffling the values over them.

    None where it cannot be told: fewer than 6 values, fewer than two levels, no level that
    occurs twice, or values that do not differ.

    Args:
        values: finite, one a cell.
        levels: the setting of each cell.
    """
    y = np.asarray(values, dtype=float)
    known = {level: index for index, level in enumerate(dict.fromkeys(levels))}
    group = np.array([known[level] for level in levels])
    if len(y) < FEWEST or not 2 <= len(known) < len(y) or math.isclose(y.min(), y.max()):
        return None
    share = float(_epsilon(y[None], group[None])[0])
    rng = np.random.default_rng(SEED)
    shuffled = np.stack([rng.permutation(y) for _ in range(RESAMPLES)])
    at_least = int((_between(shuffled, group) >= _between(y[None], group) * (1 - 1e-12)).sum())
    return Explained(share, _interval(y, group), (at_least + 1) / (RESAMPLES + 1))


def _interval(y: NDArray[np.float64], group: NDArray[np.int64]) -> tuple[float, float] | None:
    """BCa limits (Efron, 1987, JASA 82, 171-185) over the resamples that hold two levels or more.

    None where more than one resample in ten does not, or all are alike.
    """
    n = len(y)
    rng = np.random.default_rng(SEED)
    batches = [rng.integers(n, size=(min(BATCH, RESAMPLES - done), n)) for done in _starts()]
    drawn = np.concatenate([_epsilon(y[chosen], group[chosen]) for chosen in batches])
    told = drawn[np.isfinite(drawn)]
    jackknife = np.concatenate([_without(y, group, start) for start in range(0, n, BATCH)])
    if len(told) < TOLD * RESAMPLES or not np.isfinite(jackknife).all():
        return None
    share = _epsilon(y[None], group[None])[0]
    below = ((told < share).sum() + (told <= share).sum()) / (2 * len(told))
    if not 0 < below < 1:
        return None
    pull = jackknife.mean() - jackknife
    spread = 6 * (pull**2).sum() ** 1.5
    acceleration = (pull**3).sum() / spread if spread > 0 else 0.0
    normal, tail = NormalDist(), (1 - CONFIDENCE) / 2
    shift = normal.inv_cdf(float(below))
    ends = [shift + normal.inv_cdf(it) for it in (tail, 1 - tail)]
    levels = [normal.cdf(shift + end / (1 - acceleration * end)) for end in ends]
    low, high = np.quantile(told, levels)
    return float(low), float(high)


def _without(y: NDArray[np.float64], group: NDArray[np.int64], start: int) -> NDArray[np.float64]:
    """Epsilon squared without one value, for each of a batch of them."""
    every = np.arange(len(y))
    others = np.array([np.delete(every, left_out) for left_out in every[start : start + BATCH]])
    return _epsilon(y[others], group[others])


def _starts() -> range:
    return range(0, RESAMPLES, BATCH)


def _epsilon(y: NDArray[np.float64], group: NDArray[np.int64]) -> NDArray[np.float64]:
    """Epsilon squared of each row; nan where it has one level, or no variance."""
    member = (group[..., None] == np.arange(group.max() + 1)).astype(float)
    size = member.sum(-2)
    centred = y - y.mean(-1, keepdims=True)
    sums = np.einsum("...n,...nk->...k", centred, member)
    with np.errstate(all="ignore"):
        between = np.where(size > 0, sums**2 / size, 0.0).sum(-1)
        total = (centred**2).sum(-1)
        groups = (size > 0).sum(-1)
        within = (total - between) / (y.shape[-1] - groups)
        return np.where(groups > 1, (between - (groups - 1) * within) / total, np.nan)


def _between(y: NDArray[np.float64], group: NDArray[np.int64]) -> NDArray[np.float64]:
    member = (group[:, None] == np.arange(group.max() + 1)).astype(float)
    centred = y - y.mean(-1, keepdims=True)
    return ((centred @ member) ** 2 / member.sum(0)).sum(-1)
