"""The comparison table for a page: words to read, and keys to sort by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from memollm.report import methods
from memollm.report.files import MEMORY, memory
from memollm.report.inert import clipped, visible
from memollm.report.table import Entry, Row, Table
from memollm.report.wording import MISSING, lines

CLIPPED = 60  # characters of a setting


@dataclass(frozen=True)
class Tile:
    """One field of the table."""

    lines: Sequence[str]  # a value; its difference from the baseline's; what that is worth
    key: str  # to sort by: a number, or text
    verdict: str = ""  # "better", "worse" or "open": not resolved
    is_number: bool = False


@dataclass(frozen=True)
class Line:
    """One row of the table: its number, and its fields."""

    number: int
    tiles: Sequence[Tile]
    baseline: bool


@dataclass(frozen=True)
class Grid:
    headings: Sequence[str]
    settings: int  # the first so many columns are settings, the others measurements
    lines: Sequence[Line]


def grid(table: Table) -> Grid:
    """``table`` as it is shown."""
    settings = [clipped(visible(key), CLIPPED) for key in table.settings]
    headings = [*settings, *(_heading(it.heading) for it in table.columns), *MEMORY]
    rows = [
        Line(index + 1, _tiles(table, row), row.cell.is_baseline)
        for index, row in enumerate(table.rows)
    ]
    return Grid(headings, len(settings), rows)


def _tiles(table: Table, row: Row) -> list[Tile]:
    tiles = [_setting(row.settings.get(key, MISSING)) for key in table.settings]
    tiles += [_entry(row.entries.get(column)) for column in table.columns]
    share = methods.bytes_share(row)
    held = row.cell.record.memory
    kept = sum(held.kept_tokens) if held is not None else None
    for text, key in zip(memory(row), (kept, share), strict=True):
        value, _, rest = text.partition(" (")
        tiles.append(Tile([value, f"({rest}"] if rest else [value], _key(key), is_number=True))
    return tiles


def _setting(text: str) -> Tile:
    number = methods.number(text)
    shown = clipped(visible(text), CLIPPED)
    return Tile([shown], shown if number is None else repr(number))


def _entry(it: Entry | None) -> Tile:
    if it is None:
        return Tile([MISSING], "", is_number=True)
    told = lines(it)
    verdict = ""
    if it.delta is not None:
        verdict = {True: "better", False: "worse", None: "open"}[it.better]
    if it.better is not None:
        told[-1] = f"{verdict}, {told[-1]}"
    return Tile(told, _key(it.value), verdict, is_number=True)


def _heading(text: str) -> str:
    """With its arrow on the line of its last word."""
    return "\N{NO-BREAK SPACE}".join(text.rsplit(" ", 1)) if text[-1] in "↑↓" else text


def _key(value: float | None) -> str:
    return repr(float(value)) if value is not None and math.isfinite(value) else ""
