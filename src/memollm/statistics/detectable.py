"""How small a difference can a planned run resolve? Worked out before it costs anything."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from scipy.optimize import root_scalar
from scipy.stats import binom

from memollm.statistics.signs import FEWEST

POWER = 0.8  # chance to resolve a difference of the size stated
ALPHA = 0.05  # two-sided, of one comparison
# Of the answers of two unrelated runs that are right half the time, half differ.
WORST_DISCORDANCE = 0.5
# Scores in [0, 1] of two unrelated runs spread by at most 1/2 each.
WORST_SPREAD = math.sqrt(0.5)


@dataclass(frozen=True)
class Detectable:
    """The smallest difference that a run of ``prompts`` independent prompts would resolve."""

    prompts: int
    smallest: float | None  # share, or nats; None: none can be resolved
    basis: str  # what was assumed
    power: float = POWER
    alpha: float = ALPHA


def of_answers(prompts: int, noise: float | None = None) -> Detectable:
    """For answers that are right or wrong, under McNemar's exact test.

    Args:
        prompts: answers; where several share a prompt, prompts.
        noise: the share of answers that differ between the runs and add nothing to the
            difference, as many being won as lost; None: the worst case.
    """
    if noise is None:
        basis = "worst case: both right half the time, independently"
    else:
        basis = f"in earlier runs {noise:.0%} of the answers changed as often for better as worse"
    if prompts < FEWEST:
        return Detectable(prompts, None, basis)

    def lacking(size: float) -> float:
        differing = max(WORST_DISCORDANCE, size) if noise is None else min(noise + size, 1.0)
        return mcnemar_power(prompts, size, differing) - POWER

    found = root_scalar(lacking, bracket=(1e-9, 1.0), xtol=1e-4).root
    return Detectable(prompts, float(found), basis)


def of_scores(prompts: int, spread: float | None = None) -> Detectable:
    """For graded scores in [0, 1], by the normal approximation.

    Args:
        prompts: independent ones.
        spread: standard deviation of the paired differences, if earlier runs tell.
    """
    basis = "worst case: scores of 0 or 1, independent"
    if spread is None:
        return _normal(prompts, WORST_SPREAD, basis)
    return _normal(prompts, spread, _seen(spread))


def of_losses(windows: int, spread: float | None) -> Detectable:
    """For losses per token; with no earlier run there is no bound on their spread."""
    if spread is None:
        return Detectable(windows, None, "no earlier pair of runs tells the spread")
    return _normal(windows, spread, _seen(spread))


def mcnemar_power(n: int, difference: float, discordance: float) -> float:
    """Chance that McNemar's exact test of ``n`` pairs finds p <= 5 %.

    Args:
        n: pairs.
        difference: lost less won, as a share of the pairs; from 0 to ``discordance``.
        discordance: lost and won together.
    """
    differing = np.arange(n + 1)
    # The most wins among so many that the test still takes for a loss; -1: none.
    most = binom.ppf(ALPHA / 2, differing, 0.5)
    most -= binom.cdf(most, differing, 0.5) > ALPHA / 2
    lost = (discordance + difference) / (2 * discordance)
    found = binom.cdf(most, differing, 1 - lost) + binom.cdf(most, differing, lost)
    return float(binom.pmf(differing, n, discordance) @ found)


def _normal(prompts: int, spread: float, basis: str) -> Detectable:
    if prompts < FEWEST:
        return Detectable(prompts, None, basis)
    normal = NormalDist()
    factor = normal.inv_cdf(1 - ALPHA / 2) + normal.inv_cdf(POWER)
    return Detectable(prompts, factor * spread / math.sqrt(prompts), basis)


def _seen(spread: float) -> str:
    return f"standard deviation {spread:.2g} between pairs of earlier runs"
