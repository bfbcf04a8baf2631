"""Which parameter matters: what each explains of the differences between cells, and how surely."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from memollm.report import methods
from memollm.report.table import ALPHA, Column, Entry, Row, Table
from memollm.report.wording import MISSING, chance
from memollm.statistics.intervals import CONFIDENCE
from memollm.statistics.signs import FEWEST
from memollm.statistics.variance import Explained, explained

HALF = 0.5  # of the variance between cells; beyond that it is mostly noise


@dataclass(frozen=True)
class Parameter:
    """One setting, and what it explains of a column."""

    name: str
    levels: int
    explained: Explained | None
    why: str = ""  # nothing can be told of it

    @property
    def resolved(self) -> bool:
        if self.explained is None or self.explained.p > ALPHA:
            return False
        return self.explained.interval is None or self.explained.interval[0] > 0

    @property
    def verdict(self) -> str:
        if self.explained is None:
            return self.why
        resolved = "matters" if self.resolved else "not resolved"
        return f"{resolved}, {chance(self.explained.p)}"


@dataclass(frozen=True)
class Influence:
    """What the settings explain of one column."""

    column: Column
    cells: int
    parameters: Sequence[Parameter]
    noise: float | None  # mean squared standard error by variance between cells; None: unknown
    remarks: Sequence[str]


def influences(table: Table) -> list[Influence]:
    """Of every measure of quality, and of speed."""
    speed = methods.speed(table)
    columns = [*methods.quality(table), *([speed] if speed else [])]
    return [it for column in columns if (it := _influence(table, column)) is not None]


def _influence(table: Table, column: Column) -> Influence | None:
    rows = [
        row
        for some in methods.methods(table).values()
        for row in some
        if column in row.entries and math.isfinite(_value(row.entries[column]))
    ]
    keys = [key for key in _keys(table) if len(_levels(rows, key)) > 1]
    if len(rows) < 2 or not keys:
        return None
    values = [_value(row.entries[column]) for row in rows]
    given = {key: [row.settings.get(key, MISSING) for row in rows] for key in keys}
    return Influence(
        column,
        len(rows),
        sorted(
            (_parameter(key, values, given) for key in keys),
            key=lambda it: -(it.explained.share if it.explained else -math.inf),
        ),
        _noise(rows, column, values),
        _remarks(rows, given),
    )


def _keys(table: Table) -> list[str]:
    named = [key for key in methods.NAMING if key in table.settings]
    return [*named, *methods.parameters(table)]


def _levels(rows: Sequence[Row], key: str) -> set[str]:
    return {row.settings.get(key, MISSING) for row in rows}


def _value(entry: Entry) -> float:
    """The distance from the baseline, where there is one: what models differ in drops out."""
    return entry.value if entry.delta is None else entry.delta


def _parameter(key: str, values: Sequence[float], given: dict[str, list[str]]) -> Parameter:
    levels = given[key]
    count = len(set(levels))
    if len(values) < FEWEST:
        why = f"cannot be told from {len(values)} cells, {FEWEST} are needed"
        return Parameter(key, count, None, why)
    same = [other for other in given if other != key and _determines(levels, given[other])]
    same = [other for other in same if _determines(given[other], levels)]
    if same:
        return Parameter(key, count, None, f"cannot be told from {', '.join(same)}: varied at once")
    if count == len(values):
        return Parameter(key, count, None, "cannot be told: no value occurs twice")
    found = explained(values, levels)
    return Parameter(key, count, found, "" if found else "cannot be told: all cells are equal")


def _determines(mine: Sequence[str], other: Sequence[str]) -> bool:
    """Whether who knows ``mine`` knows ``other``."""
    return len(set(zip(mine, other, strict=True))) == len(set(mine))


def _noise(rows: Sequence[Row], column: Column, values: Sequence[float]) -> float | None:
    errors = [error for row in rows if (error := _error(row.entries[column])) is not None]
    mean = math.fsum(values) / len(values)
    variance = math.fsum((it - mean) ** 2 for it in values) / (len(values) - 1)
    if len(errors) < len(rows) or variance <= 0:
        return None
    return math.fsum(error**2 for error in errors) / len(errors) / variance


def _error(entry: Entry) -> float | None:
    """The standard error of the value; of a paired difference, a quarter of its 95 % interval."""
    if entry.paired is not None:
        limits = entry.paired.interval
        return None if limits is None else (limits[1] - limits[0]) / 4
    error = entry.metrics[0].stderr if len(entry.metrics) == 1 else None
    return error if error is not None and math.isfinite(error) else None


def _remarks(rows: Sequence[Row], given: dict[str, list[str]]) -> list[str]:
    uneven = [
        f"{one} and {other}"
        for one, other in combinations(given, 2)
        if not _crossed(given[one], given[other])
    ]
    if not uneven or len(rows) < FEWEST:
        return []
    return [
        f"Not every value of one was measured as often with every value of the other: "
        f"{'; '.join(uneven[:4])}. What they explain overlaps."
    ]


def _crossed(one: Sequence[str], other: Sequence[str]) -> bool:
    pairs = Counter(zip(one, other, strict=True))
    return len(pairs) == len(set(one)) * len(set(other)) and len(set(pairs.values())) == 1


def sentence(it: Influence) -> str:
    """What comes out, in words."""
    heading = methods.heading(it.column)
    note = ""
    if it.noise is not None and it.noise > HALF:
        much = "all" if it.noise >= 1 else f"{it.noise:.0%}"
        note = f" Noise: the standard errors alone explain {much} of it."
    found = [one for one in it.parameters if one.resolved and one.explained]
    told = [_share(one) for one in found]
    if not any(one.explained for one in it.parameters):
        return f"{heading}: this design cannot tell which parameter matters."
    if not told:
        return f"{heading}: no parameter's influence is resolved over {it.cells} cells.{note}"
    return f"{heading}: {', '.join(told)} of the variance between {it.cells} cells.{note}"


def _share(it: Parameter) -> str:
    assert it.explained is not None
    limits = it.explained.interval
    interval = f" ({limits[0]:.0%}..{limits[1]:.0%})" if limits else ""
    return f"{it.name} explains {it.explained.share:.0%}{interval}"


METHOD = (
    "Share of the variance between cells that lies between the values of one parameter, whatever "
    f"the others are (epsilon squared; below 0: less than chance), with a {CONFIDENCE:.0%} BCa "
    "bootstrap interval over cells, which covers less than it says where cells are few; p from "
    "shuffling, not corrected. Interactions are in none."
)
