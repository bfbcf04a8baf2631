"""One run against its baseline: the difference, its interval, and the chance of it by luck."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memollm.statistics.intervals import bca, difference, newcombe
from memollm.statistics.pairing import Matched, Outcome, Pair, clusters
from memollm.statistics.signs import sign_flip


@dataclass(frozen=True)
class Difference:
    """What pairing tells. ``value`` is ours less the baseline's mean, in the outcome's unit."""

    outcome: Outcome
    value: float
    interval: tuple[float, float] | None  # of 95 %; None: too few prompts, or all differ alike
    p: float  # two-sided; not corrected for other comparisons
    pairs: int
    prompts: int  # independent ones among them
    better: int  # pairs in which ours is
    worse: int
    leftover: int  # samples without a partner
    test: str  # how ``p`` and ``interval`` were found


def compare(runs: Sequence[Matched], outcome: Outcome, exponential: bool = False) -> Difference:
    """Compare the pairs of one run, or of several seeds of it, pooled.

    A prompt that several seeds share counts once: its answers are one cluster.

    Args:
        runs: at least one pair in all.
        outcome: which all samples have.
        exponential: compare the exponentials of the means: perplexities instead of losses.
    """
    pairs = [pair for run in runs for pair in run.pairs]
    grouped = clusters(pairs, outcome)
    binary = outcome is Outcome.correct
    alone = len(grouped.size) == len(pairs)
    signs = [_sign(pair, outcome) for pair in pairs]
    flipped = "McNemar's exact test" if binary and alone else "sign-flip test"
    return Difference(
        outcome=outcome,
        value=difference(grouped, exponential),
        interval=_newcombe(pairs) if binary and alone else bca(grouped, exponential),
        p=sign_flip(grouped.ours - grouped.baseline),
        pairs=len(pairs),
        prompts=len(grouped.size),
        better=signs.count(1),
        worse=signs.count(-1),
        leftover=sum(run.leftover for run in runs),
        test=f"{flipped}, {'Newcombe interval' if binary and alone else 'BCa bootstrap'}",
    )


def _newcombe(pairs: Sequence[Pair]) -> tuple[float, float]:
    answers = [(bool(it.ours["correct"]), bool(it.baseline["correct"])) for it in pairs]
    cells = (answers.count(it) for it in ((True, True), (True, False), (False, True)))
    both, ours, baseline = cells
    return newcombe(both, ours, baseline, len(pairs) - both - ours - baseline)


def _sign(pair: Pair, outcome: Outcome) -> int:
    """1: ours is better, -1: worse, 0: equal."""
    change = float(pair.ours[outcome]) - float(pair.baseline[outcome])
    change = -change if outcome is Outcome.nll else change
    return (change > 0) - (change < 0)
