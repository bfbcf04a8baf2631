"""Many comparisons in one table: p-values corrected, so that luck is not taken for a finding."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from scipy import stats


class Correction(StrEnum):
    """What is kept below 5 %."""

    holm = "holm"  # the chance of even one false finding in the table (Holm, 1979)
    bh = "bh"  # the share of false ones among the findings (Benjamini & Hochberg, 1995)


def corrected(p: Sequence[float], correction: Correction) -> list[float]:
    """Adjusted p-values of one family of comparisons, in the order given.

    >>> corrected([0.01, 0.04, 0.03], Correction.holm)
    [0.03, 0.06, 0.06]
    """
    if not p:
        return []
    if correction is Correction.bh:
        return stats.false_discovery_control(p, method="bh").tolist()
    order = np.argsort(p, kind="stable")
    steps = np.asarray(p)[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted.tolist()
