"""The comparison table as data: which columns, which rows, and every number with its doubt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from memollm.record import Measured, Status
from memollm.report.cells import Cell, Cells
from memollm.report.settings import differing, settings, shared

HEADLINES = {  # metric: how its column is called
    "perplexity": "perplexity",
    "accuracy": "{evaluation} accuracy",
    "decode_ratio_to_baseline": "decode speed / baseline",
}
ARROWS = {True: " ↑", False: " ↓", None: ""}


@dataclass(frozen=True)
class Entry:
    """A number in the table, and how it compares with the baseline's."""

    metric: Measured
    baseline: Measured | None = None  # None: there is none, or the metric is relative already

    @property
    def delta(self) -> float | None:
        return None if self.baseline is None else self.metric.value - self.baseline.value

    @property
    def better(self) -> bool | None:
        """Whether it beats the baseline by over two standard errors; None if neither does."""
        if self.baseline is None or self.delta is None or self.metric.higher_is_better is None:
            return None
        doubt = math.hypot(self.metric.stderr or 0.0, self.baseline.stderr or 0.0)
        if not abs(self.delta) > 2 * doubt:  # nan, too
            return None
        return (self.delta > 0) == self.metric.higher_is_better


@dataclass(frozen=True)
class Column:
    """One metric of one evaluation."""

    evaluation: str
    metric: str
    heading: str


@dataclass(frozen=True)
class Row:
    """One cell; an entry is missing where it was not measured."""

    cell: Cell
    settings: dict[str, str]
    entries: dict[Column, Entry]


@dataclass(frozen=True)
class Table:
    """What is compared. ``rows`` are the cells with results, ``unfinished`` the others."""

    settings: list[str]  # keys whose values tell the rows apart
    shared: dict[str, str]
    columns: list[Column]
    rows: list[Row]
    unfinished: list[Row]
    unreadable: int


def table(cells: Cells) -> Table:
    """Compare ``cells``."""
    columns = _columns(cells.cells)
    rows = [
        Row(cell, settings(cell.record.config), _entries(cells, cell, columns))
        for cell in cells.cells
    ]
    with_results = [row for row in rows if row.entries]
    texts = [row.settings for row in rows]
    return Table(
        settings=differing(texts),
        shared=shared(texts),
        columns=columns,
        rows=with_results,
        unfinished=[row for row in rows if row.cell.record.status != Status.finished],
        unreadable=cells.unreadable,
    )


def _columns(cells: Sequence[Cell]) -> list[Column]:
    """An evaluation's headline metrics; its first metric where it has none of those."""
    columns: dict[Column, None] = {}
    for cell in cells:
        for evaluation, result in cell.record.results.items():
            chosen = [name for name in result.metrics if name in HEADLINES]
            for name in chosen or list(result.metrics)[:1]:
                words = HEADLINES.get(name, f"{evaluation} {name}").format(evaluation=evaluation)
                arrow = ARROWS[result.metrics[name].higher_is_better]
                columns[Column(evaluation, name, words + arrow)] = None
    return list(columns)


def _entries(cells: Cells, cell: Cell, columns: Sequence[Column]) -> dict[Column, Entry]:
    entries = {}
    for column in columns:
        result = cell.record.results.get(column.evaluation)
        metric = result.metrics.get(column.metric) if result else None
        if metric is not None:
            entries[column] = Entry(metric, _baseline(cells, cell, column))
    return entries


def _baseline(cells: Cells, cell: Cell, column: Column) -> Measured | None:
    if cell.is_baseline or column.metric.endswith("to_baseline"):
        return None
    result = cells.baseline_of(cell, column.evaluation)
    return result.metrics.get(column.metric) if result else None
