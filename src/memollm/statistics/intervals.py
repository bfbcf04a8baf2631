"""How large is a paired difference, give or take? Intervals of 95 %."""

from __future__ import annotations

import math
import warnings
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from memollm.statistics.pairing import Clusters
from memollm.statistics.signs import FEWEST

CONFIDENCE = 0.95
RESAMPLES = 9999
BATCH = 500  # resamples in memory at a time
SEED = 0  # of the bootstrap: the same samples give the same interval


def wilson(right: int, n: int) -> tuple[float, float]:
    """Limits of a share (Wilson, 1927, JASA 22, 209-212).

    >>> [round(limit, 3) for limit in wilson(0, 10)]
    [0.0, 0.278]
    """
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    share = right / n
    centre = share + z * z / (2 * n)
    reach = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    below, above = (centre - reach) / (1 + z * z / n), (centre + reach) / (1 + z * z / n)
    return 0.0 if right == 0 else below, 1.0 if right == n else above


def newcombe(both: int, ours: int, baseline: int, neither: int) -> tuple[float, float]:
    """Limits of the difference of two shares over the same questions.

    Method 10 of Newcombe (1998, Statistics in Medicine 17, 2635-2650): the Wilson limits of each
    share, put together with their correlation. Defined for every table, also one without any
    difference, where a bootstrap sees none either.

    Args:
        both: questions that both answered right.
        ours: only ours did.
        baseline: only the baseline did.
        neither: both were wrong.
    """
    n = both + ours + baseline + neither
    mine, theirs = (both + ours) / n, (both + baseline) / n
    (low_m, high_m), (low_t, high_t) = wilson(both + ours, n), wilson(both + baseline, n)
    margins = (both + ours) * (baseline + neither) * (both + baseline) * (ours + neither)
    product = both * neither - ours * baseline
    if product > 0:
        product = max(product - n / 2, 0)
    phi = product / math.sqrt(margins) if margins else 0.0

    def reach(mine: float, theirs: float) -> float:
        return math.sqrt(max(mine**2 - 2 * phi * mine * theirs + theirs**2, 0.0))

    low = mine - theirs - reach(mine - low_m, high_t - theirs)
    high = mine - theirs + reach(high_m - mine, theirs - low_t)
    return max(low, -1.0), min(high, 1.0)


def difference(it: Clusters, exponential: bool) -> float:
    """Mean of ours less mean of the baseline; of their exponentials, for a perplexity."""
    return float(_difference(it.ours, it.baseline, it.size, exponential, -1))


def bca(it: Clusters, exponential: bool) -> tuple[float, float] | None:
    """Limits by the bias-corrected and accelerated bootstrap (Efron, 1987, JASA 82, 171-185).

    Prompts are drawn, each with all its pairs. None where there is nothing to draw from: fewer
    than 6 prompts, or differences that are all the same.
    """
    if len(it.size) < FEWEST:
        return None
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):  # 0 / 0 is seen below
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        found = stats.bootstrap(
            (it.ours, it.baseline, it.size),
            lambda ours, baseline, size, axis: _difference(ours, baseline, size, exponential, axis),
            paired=True,
            vectorized=True,
            n_resamples=RESAMPLES,
            batch=BATCH,
            confidence_level=CONFIDENCE,
            method="BCa",
            rng=np.random.default_rng(SEED),
        ).confidence_interval
    limits = float(found.low), float(found.high)
    return limits if all(map(math.isfinite, limits)) and limits[0] < limits[1] else None


def _difference(
    ours: NDArray[np.float64],
    baseline: NDArray[np.float64],
    size: NDArray[np.float64],
    exponential: bool,
    axis: int,
) -> NDArray[np.float64] | np.float64:
    total = size.sum(axis)
    mine, theirs = ours.sum(axis) / total, baseline.sum(axis) / total
    return np.exp(mine) - np.exp(theirs) if exponential else mine - theirs
