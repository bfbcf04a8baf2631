"""Rows by method: what a reader sees as one line in a plot, and what varies along it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist

from memollm.report.inert import clipped, visible
from memollm.report.paired import SHARE
from memollm.report.settings import HANDED_DOWN
from memollm.report.table import Column, Entry, Row, Table
from memollm.report.wording import MISSING
from memollm.statistics.intervals import CONFIDENCE

NAMING = ("mode", "mode.press", "policy", "model")  # settings that make another method
SPEED = "decode_ratio_to_baseline"
LABEL = 48  # characters
Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)


def method(table: Table, row: Row) -> str:
    """The row's method, in the words that tell methods apart here."""
    named = [key for key in NAMING if key == "mode" or key in table.settings]
    told = [row.settings[key] for key in named if key in row.settings]
    return clipped(visible(" ".join(told)), LABEL)


def methods(table: Table) -> dict[str, list[Row]]:
    """Rows with a memory, by their method."""
    found: dict[str, list[Row]] = {}
    for row in table.rows:
        if not row.cell.is_baseline:
            found.setdefault(method(table, row), []).append(row)
    return found


def baselines(table: Table) -> list[Row]:
    return [row for row in table.rows if row.cell.is_baseline]


def parameters(table: Table) -> list[str]:
    """Settings that differ between the rows with a memory, methods aside; seeds are luck."""
    rows = [row for some in methods(table).values() for row in some]
    return [key for key in table.settings if _is_parameter(key) and len(levels(rows, key)) > 1]


def levels(rows: Sequence[Row], key: str) -> list[str]:
    """The values that ``key`` takes in ``rows``, in their order."""
    return list(dict.fromkeys(row.settings[key] for row in rows if key in row.settings))


def rest(table: Table, row: Row, without: str) -> dict[str, str]:
    """A row's other parameters."""
    keys = [key for key in parameters(table) if key != without]
    return {key: row.settings.get(key, MISSING) for key in keys}


def told(settings: Mapping[str, str]) -> str:
    """Settings as they are typed."""
    return " ".join(f"{key}={clipped(visible(text), LABEL)}" for key, text in settings.items())


def number(text: str) -> float | None:
    """A setting as a number; None where it is none.

    >>> number("0.01"), number("[0.1, 0.2]"), number("nan")
    (0.01, None, None)
    """
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def quality(table: Table) -> list[Column]:
    """Columns of what a model can do: a direction is better, and it is no speed."""
    return [it for it in table.columns if it.metric != SPEED and _directed(table, it)]


def speed(table: Table) -> Column | None:
    return next((it for it in table.columns if it.metric == SPEED), None)


def direction(table: Table, column: Column) -> bool | None:
    """Whether higher is better; None: neither."""
    entries = (row.entries.get(column) for row in table.rows)
    return next((it.metrics[0].higher_is_better for it in entries if it), None)


def is_share(table: Table, column: Column) -> bool:
    """Whether it is a share, told in percent."""
    entries = (row.entries.get(column) for row in table.rows)
    return next((it.metrics[0].unit == SHARE for it in entries if it), False)


def heading(column: Column) -> str:
    """What the column measures, without the arrow."""
    return column.heading.rstrip(" ↑↓")


def limits(entry: Entry) -> tuple[float, float]:
    """The 95 % interval to draw around the value.

    Of a paired comparison it is the difference's, since what all cells share, the prompts, is no
    doubt about their order; else it is made from the standard error.
    """
    if entry.paired is not None and entry.delta is not None:
        low, high = entry.paired.interval or (entry.delta, entry.delta)
        return entry.value - entry.delta + low, entry.value - entry.delta + high
    errors = [it.stderr for it in entry.metrics if it.stderr is not None]
    known = [it for it in errors if math.isfinite(it)]
    reach = Z * math.sqrt(math.fsum(it * it for it in known)) / len(entry.metrics)
    return entry.value - reach, entry.value + reach


def bytes_share(row: Row) -> float | None:
    """The cache's bytes by the untouched model's: the mean over seeds; None: not measured."""
    held = [cell.record.memory for cell in row.cells if cell.record.memory is not None]
    shares = [it.kv_bytes / it.kv_bytes_baseline for it in held if it.kv_bytes_baseline > 0]
    return math.fsum(shares) / len(shares) if shares else None


def _directed(table: Table, column: Column) -> bool:
    return direction(table, column) is not None


def _is_parameter(key: str) -> bool:
    if key in NAMING or key == "seed" or key.endswith(".seed"):
        return False
    return not key.startswith(("evaluation", *HANDED_DOWN))
