"""``diff``: what two runs were asked, what they found, and what changed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from memollm import record
from memollm.record import Measured
from memollm.report.cells import Cell
from memollm.report.paired import SHARE, Samples, Unpaired
from memollm.report.settings import NO_RESULT, settings
from memollm.report.wording import MISSING, chance, difference, interval, number, signed
from memollm.runs.found import Run
from memollm.runs.showing import flat
from memollm.statistics.comparison import Difference

NORMAL = 1.96  # standard errors in half an interval of 95 %
CLOSE = 1e-6  # relative; a difference of means taken in another order
OWN = {"started", "command"}  # of a provenance, and different in any two runs


@dataclass(frozen=True)
class Change:
    """One setting, or fact of the origin, that differs; None where a run does not have it."""

    key: str
    first: str | None
    second: str | None


@dataclass(frozen=True)
class Measurement:
    """One metric of both runs."""

    evaluation: str
    metric: str
    first: Measured | None
    second: Measured | None
    paired: Difference | None = None  # second less first, over the samples of both

    @property
    def value(self) -> float | None:
        """Second less first."""
        if self.first is None or self.second is None:
            return None
        return self.second.value - self.first.value

    @property
    def limits(self) -> tuple[float, float] | None:
        """Of 95 %: of the pairs, or else as if the two were measured on different samples.

        The latter is too wide where both saw the same samples; None where nothing is known.
        """
        if self.paired is not None:
            return self.paired.interval
        doubts = [it.stderr for it in (self.first, self.second) if it and it.stderr is not None]
        if self.value is None or len(doubts) < 2:
            return None
        half = NORMAL * math.hypot(*doubts)
        return self.value - half, self.value + half

    @property
    def breakdown(self) -> bool:
        """Whether it is one part of another metric: of a length, a depth, a position."""
        return bool(re.search(r"_\d+(_\d+)?$|_none$", self.metric))

    @property
    def same(self) -> bool:
        """Whether it is one number, measured once or twice."""
        return self.first == self.second


@dataclass(frozen=True)
class Comparison:
    """Two runs beside one another."""

    first: Run
    second: Run
    settings: list[Change]
    origin: list[Change]  # commit, versions, machine
    measurements: list[Measurement]


def compare(first: Run, second: Run) -> Comparison:
    """What changed from ``first`` to ``second``."""
    one, other = first.record, second.record
    asked = [settings({**it.config, **dict.fromkeys(NO_RESULT)}) for it in (one, other)]
    origins = [_origin(it.provenance) for it in (one, other)]
    return Comparison(
        first, second, list(_changes(*asked)), list(_changes(*origins)),
        list(_measurements(first, second)),
    )  # fmt: skip


def words(it: Measurement) -> tuple[str, str, str]:
    """Both values, and the difference with its interval."""
    factor = 100.0 if (it.first or it.second or _NONE).unit == SHARE else 1.0
    both = _value(it.first, factor), _value(it.second, factor)
    if it.first is None or it.second is None:
        return *both, MISSING
    if it.same:
        return *both, "="
    if it.paired is not None:
        told = difference(it.paired, factor) + interval(it.paired, factor)
        return *both, f"{told}, {chance(it.paired.p)}"
    assert it.value is not None
    if it.limits is None:
        return *both, signed(it.value * factor, 0.0)
    low, high = (limit * factor for limit in it.limits)
    doubt = (high - low) / 2
    told = f"{signed(it.value * factor, doubt)} ({signed(low, doubt)}..{signed(high, doubt)})"
    return *both, f"{told}, unpaired"


def plain(it: Comparison) -> dict[str, Any]:
    """The comparison as plain data."""
    return {
        "first": it.first.id,
        "second": it.second.id,
        "settings": {one.key: [one.first, one.second] for one in it.settings},
        "origin": {one.key: [one.first, one.second] for one in it.origin},
        "metrics": [record.finite(_plain(one)) for one in it.measurements],
    }


_NONE = Measured(0.0, "", None, 0)


def _plain(it: Measurement) -> dict[str, Any]:
    return {
        "evaluation": it.evaluation,
        "metric": it.metric,
        "first": it.first.value if it.first else None,
        "second": it.second.value if it.second else None,
        "difference": it.value,
        "interval": it.limits,
        "paired": it.paired is not None,
        "p": it.paired.p if it.paired else None,
    }


def _value(it: Measured | None, factor: float) -> str:
    if it is None:
        return MISSING
    doubt = (it.stderr or 0.0) * factor
    told = number(it.value * factor, doubt) + (
        "" if it.stderr is None else f" ±{number(doubt, doubt)}"
    )
    return told + ("%" if factor == 100.0 else "")


def _origin(provenance: Mapping[str, Any]) -> dict[str, str]:
    return {key: value for key, value in flat(provenance) if key not in OWN}


def _changes(one: Mapping[str, str], other: Mapping[str, str]) -> Iterator[Change]:
    for key in {**one, **other}:  # a set with an order
        if one.get(key) != other.get(key):
            yield Change(key, one.get(key), other.get(key))


def _measurements(first: Run, second: Run) -> Iterator[Measurement]:
    samples = Samples()
    cells = Cell(second.folder, second.record), Cell(first.folder, first.record)
    for evaluation in {**first.record.results, **second.record.results}:
        both = [run.record.results.get(evaluation) for run in (first, second)]
        metrics = [it.metrics if it else {} for it in both]
        for metric in {**metrics[0], **metrics[1]}:
            one, other = (it.get(metric) for it in metrics)
            paired = None
            if one is not None and other is not None and one != other:
                paired = _paired(samples, cells, evaluation, metric, other.value - one.value)
            yield Measurement(evaluation, metric, one, other, paired)


def _paired(
    samples: Samples, cells: tuple[Cell, Cell], evaluation: str, metric: str, expected: float
) -> Difference | None:
    """The difference over the samples of both, where it is that of the recorded numbers.

    A metric of some samples alone may have the same mean as all of them, in one of the runs.
    """
    try:
        found = samples.compare([cells], evaluation, metric)
    except Unpaired:
        return None
    close = math.isclose(found.value, expected, rel_tol=CLOSE, abs_tol=CLOSE)
    return found if close or found.leftover else None
