"""A metric against its baseline's, sample by sample: which samples are behind it, and the pairs."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

from memollm import samples
from memollm.record import Measured
from memollm.report.cells import Cell
from memollm.statistics.comparison import Difference, compare
from memollm.statistics.pairing import Matched, Outcome, Sample, Unpairable, match

Choice: TypeAlias = Callable[[Sample], bool]

DIVIDED_BY = ("asking", "corpus", "kind", "task")  # what an evaluation names metrics after
UNNAMED = "streamed"  # the way of asking that is not named
SHARE = "share"  # the unit of means of right answers and of scores
NO_WORD = re.compile(r"\W")  # what names of metrics have a _ for
CLOSE = 1e-6  # relative; a mean taken in another order


class Unpaired(Exception):
    """Why two numbers cannot be compared sample by sample."""


class Samples:
    """The samples of runs, each file read once."""

    def __init__(self) -> None:
        self._read = functools.cache(samples.read)

    def of(self, cell: Cell, evaluation: str) -> Sequence[Sample]:
        return self._read(cell.folder).get(evaluation, [])

    def compare(
        self, seeds: Sequence[tuple[Cell, Cell]], evaluation: str, metric: str
    ) -> Difference:
        """The difference that ``metric`` makes, over all (cell, its baseline) pooled.

        Raises:
            Unpaired: if there is nothing to pair, prompts differ, or the metric is not a mean of
                the samples.
        """
        runs = [self._match(cell, baseline, evaluation) for cell, baseline in seeds]
        if not all(run.pairs for run in runs):
            raise Unpaired("no samples to pair")
        # Of cell and baseline: a part's mean may equal the whole's by chance, in both hardly ever,
        # and then without harm.
        known = [
            (it.record.results[evaluation].metrics[metric], self.of(it, evaluation))
            for it in seeds[0]
            if metric in it.record.results[evaluation].metrics
        ]
        behind = _behind(metric, known)
        if behind is None:
            raise Unpaired(f"{metric} is no mean of the samples")
        outcome, chosen = behind
        picked = [_pick(run, outcome, chosen) for run in runs]
        if not all(run.pairs for run in picked):
            raise Unpaired("no samples to pair")
        return compare(picked, outcome, exponential=_is_perplexity(metric))

    def _match(self, cell: Cell, baseline: Cell, evaluation: str) -> Matched:
        try:
            return match(self.of(cell, evaluation), self.of(baseline, evaluation))
        except Unpairable as error:
            raise Unpaired(str(error)) from error


def _pick(run: Matched, outcome: Outcome, chosen: Choice) -> Matched:
    pairs = [it for it in run.pairs if outcome in it.ours and chosen(it.ours)]
    return replace(run, pairs=pairs)


def _behind(
    metric: str, known: Sequence[tuple[Measured, Sequence[Sample]]]
) -> tuple[Outcome, Choice] | None:
    """The outcome and the choice of samples whose mean is what was recorded, in each of ``known``.

    An evaluation may ask in two ways, or read several texts, and name a metric after each; and
    not all tasks of one have the same outcome. What has most samples behind it comes first.
    """
    found: list[tuple[int, Outcome, Choice]] = []
    _, samples = known[0]
    for chosen in _choices(metric, samples):
        for outcome in Outcome:
            parts = [(told, _those(read, outcome, chosen)) for told, read in known]
            if all(some and _mean_is(metric, told, some, outcome) for told, some in parts):
                found.append((len(parts[0][1]), outcome, chosen))
    return max(found, key=lambda it: it[0])[1:] if found else None


def _those(samples: Sequence[Sample], outcome: Outcome, chosen: Choice) -> list[Sample]:
    return [it for it in samples if outcome in it and chosen(it)]


def _choices(metric: str, samples: Sequence[Sample]) -> list[Choice]:
    every: list[Choice] = [lambda _: True]
    for key in DIVIDED_BY:
        for value in dict.fromkeys(str(it[key]) for it in samples if key in it):
            if metric.endswith(f"_{NO_WORD.sub('_', value)}") or value == UNNAMED:
                every.append(functools.partial(_has, key, value))
    return every


def _has(key: str, value: str, sample: Sample) -> bool:
    return str(sample.get(key)) == value


def _mean_is(metric: str, recorded: Measured, samples: Sequence[Sample], outcome: Outcome) -> bool:
    if outcome is not Outcome.nll and recorded.unit != SHARE:
        return False
    sizes = [it["tokens"] if outcome is Outcome.nll else 1 for it in samples]
    mean = math.fsum(float(it[outcome]) for it in samples) / math.fsum(sizes)
    expected = math.exp(mean) if _is_perplexity(metric) else mean
    return math.isclose(expected, recorded.value, rel_tol=CLOSE, abs_tol=CLOSE)


def _is_perplexity(metric: str) -> bool:
    return metric.startswith("perplexity")
