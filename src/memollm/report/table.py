"""The comparison table as data: which columns, which rows, and every number with its doubt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from memollm.record import Measured, Status
from memollm.report import seeds
from memollm.report.cells import Cell, Cells
from memollm.report.paired import Samples, Unpaired
from memollm.report.settings import differing, shared
from memollm.statistics.comparison import Difference
from memollm.statistics.corrections import Correction, corrected

HEADLINES = {  # metric: how its column is called
    "perplexity": "perplexity",
    "accuracy": "{evaluation} accuracy",
    "accuracy_unseen": "{evaluation} accuracy, question unseen",
    "score": "{evaluation} score",
    "decode_ratio_to_baseline": "decode speed / baseline",
}
FLAGS = {  # metric: a column beside an evaluation's numbers that says what they are worth
    "can_feel_forgetting": "{evaluation}: can feel forgetting",
}
OF_TASKS = "lm_eval"  # an evaluation of many tasks, each with numbers of its own
UNFELT = "cannot feel forgetting"
ARROWS = {True: " ↑", False: " ↓", None: ""}
ALPHA = 0.05  # of the whole table, once corrected


@dataclass(frozen=True)
class Entry:
    """A number in the table, and how it compares with the baseline's."""

    metrics: Sequence[Measured]  # one for each seed
    baseline: float | None = None  # None: there is none, or the metric is relative already
    paired: Difference | None = None  # over the same prompts
    unpaired: str = ""  # why ``paired`` is missing though there is a baseline
    p: float | None = None  # of ``paired``, corrected for all comparisons in the table
    remark: str = ""  # what the number cannot tell

    @property
    def value(self) -> float:
        """The mean over seeds."""
        return math.fsum(it.value for it in self.metrics) / len(self.metrics)

    @property
    def delta(self) -> float | None:
        """Distance from the baseline; over the pairs, where there are any."""
        if self.paired is not None:
            return self.paired.value
        return None if self.baseline is None else self.value - self.baseline

    @property
    def resolved(self) -> bool:
        return self.p is not None and self.p <= ALPHA

    @property
    def better(self) -> bool | None:
        """Whether it beats the baseline by more than chance explains; None if neither does."""
        higher_is_better = self.metrics[0].higher_is_better
        if not self.resolved or self.delta is None or higher_is_better is None:
            return None
        return (self.delta > 0) == higher_is_better


@dataclass(frozen=True)
class Column:
    """One metric of one evaluation."""

    evaluation: str
    metric: str
    heading: str


@dataclass(frozen=True)
class Row:
    """The seeds of one cell; an entry is missing where it was not measured."""

    cells: Sequence[Cell]
    settings: dict[str, str]
    entries: dict[Column, Entry]

    @property
    def cell(self) -> Cell:
        """The first seed's."""
        return self.cells[0]


@dataclass(frozen=True)
class Table:
    """What is compared. ``rows`` are the cells with results, ``unfinished`` the others."""

    settings: list[str]  # keys whose values tell the rows apart
    shared: dict[str, str]
    columns: list[Column]
    rows: list[Row]
    unfinished: list[Row]
    unreadable: int
    correction: Correction = Correction.holm
    comparisons: int = 0  # the family that is corrected for


def table(cells: Cells, correction: Correction = Correction.holm) -> Table:
    """Compare ``cells``."""
    columns, samples = _columns(cells.cells), Samples()
    with_results = [cell for cell in cells.cells if cell.record.results]
    rows = [
        Row(group, seeds.told(group), _entries(cells, group, columns, samples))
        for group in seeds.grouped(with_results)
    ]
    others = [cell for cell in cells.cells if cell.record.status != Status.finished]
    unfinished = [Row([cell], seeds.told([cell]), {}) for cell in others]
    without = [row for row in unfinished if not row.cell.record.results]
    texts = [row.settings for row in [*rows, *without]]
    family = [it.paired.p for row in rows for it in row.entries.values() if it.paired]
    return Table(
        settings=differing(texts),
        shared=shared(texts),
        columns=columns,
        rows=_with_corrected(rows, corrected(family, correction)),
        unfinished=unfinished,
        unreadable=cells.unreadable,
        correction=correction,
        comparisons=len(family),
    )


def _columns(cells: Sequence[Cell]) -> list[Column]:
    """An evaluation's headline metrics; its first metric where it has none of those."""
    columns: dict[Column, None] = {}
    for cell in cells:
        for evaluation, result in cell.record.results.items():
            every = list(result.metrics)
            parts = [name for name in every if _task(evaluation, name)]
            whole = {name.partition("_")[0] for name in parts}  # told task by task instead
            chosen = [
                name
                for name in every
                if name not in whole and (name in HEADLINES or _of_text(name) or name in parts)
            ]
            flags = [name for name in every if name in FLAGS]
            for name in [*(chosen or every[:1]), *flags]:
                words = _words(evaluation, name)
                arrow = ARROWS[result.metrics[name].higher_is_better]
                columns[Column(evaluation, name, words + arrow)] = None
    return list(columns)


def _words(evaluation: str, metric: str) -> str:
    """What a column is called."""
    if task := _task(evaluation, metric):
        return f"{task} {metric.partition('_')[0]}"
    other = metric.replace("_", " ", 1) if _of_text(metric) else f"{evaluation} {metric}"
    return {**HEADLINES, **FLAGS}.get(metric, other).format(evaluation=evaluation)


def _task(evaluation: str, metric: str) -> str:
    """Which of several tasks a metric is named after; nothing for others."""
    measure, _, task = metric.partition("_")
    named = evaluation == OF_TASKS and measure in ("accuracy", "score", "perplexity")
    return task if named else ""


def _of_text(metric: str) -> bool:
    """Whether it is the perplexity of one text of several, named after it."""
    return metric.startswith("perplexity_")


def _entries(
    cells: Cells, group: Sequence[Cell], columns: Sequence[Column], samples: Samples
) -> dict[Column, Entry]:
    entries = {}
    for column in columns:
        measured = [cell for cell in group if _metric(cell, column)]
        if measured:
            metrics = [it for cell in measured if (it := _metric(cell, column))]
            entry = Entry(metrics, remark=_remark(measured, column))
            entries[column] = _compared(cells, measured, entry, column, samples)
    return entries


def _remark(measured: Sequence[Cell], column: Column) -> str:
    """That no document of the task is long enough for the memory to forget any of it."""
    flag = f"{_task(column.evaluation, column.metric)}_can_feel_forgetting"
    felt = [
        it.value
        for cell in measured
        if (it := cell.record.results[column.evaluation].metrics.get(flag)) is not None
    ]
    return UNFELT if felt and not any(felt) else ""


def _compared(
    cells: Cells, measured: Sequence[Cell], entry: Entry, column: Column, samples: Samples
) -> Entry:
    described = entry.metrics[0].higher_is_better is None
    if described or measured[0].is_baseline or column.metric.endswith("to_baseline"):
        return entry
    couples = [
        (cell, baseline)
        for cell in measured
        if (baseline := cells.baseline_of(cell, column.evaluation)) and _metric(baseline, column)
    ]
    if len(couples) < len(measured):
        return entry
    theirs = [it.value for _, baseline in couples if (it := _metric(baseline, column))]
    entry = replace(entry, baseline=math.fsum(theirs) / len(theirs))
    try:
        return replace(entry, paired=samples.compare(couples, column.evaluation, column.metric))
    except Unpaired as why:
        return replace(entry, unpaired=str(why))


def _with_corrected(rows: Sequence[Row], p: Sequence[float]) -> list[Row]:
    left = iter(p)
    return [
        replace(
            row,
            entries={
                column: replace(it, p=next(left)) if it.paired else it
                for column, it in row.entries.items()
            },
        )
        for row in rows
    ]


def _metric(cell: Cell, column: Column) -> Measured | None:
    result = cell.record.results.get(column.evaluation)
    return result.metrics.get(column.metric) if result else None
