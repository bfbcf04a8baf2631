"""What a sweep asks: which methods, over which settings, of which model, by which measures."""

from __future__ import annotations

from dataclasses import dataclass

from memollm.record import Status
from memollm.report import methods
from memollm.report.inert import clipped, visible
from memollm.report.table import Table

NAMED = 6  # values of a parameter; further ones are counted


@dataclass(frozen=True)
class Question:
    """The question in a sentence, what varies, and how much of it has been answered."""

    sentence: str
    varied: dict[str, str]  # parameter: its values
    cells: int
    finished: int

    @property
    def complete(self) -> bool:
        return self.cells == self.finished


def question(table: Table) -> Question:
    """What ``table`` was made to answer."""
    rows = [*table.rows, *(row for row in table.unfinished if not row.cell.record.results)]
    cells = {cell.folder: cell for row in rows for cell in row.cells}
    finished = [it for it in cells.values() if it.record.status == Status.finished]
    names = list(methods.methods(table))
    models = dict.fromkeys(clipped(visible(row.settings.get("model", "?")), 60) for row in rows)
    varied = {key: _values(table, key) for key in methods.parameters(table)}
    return Question(
        _sentence(names, list(models), list(varied)),
        varied,
        len(cells) + table.unreadable,
        len(finished),
    )


def _sentence(names: list[str], models: list[str], varied: list[str]) -> str:
    of = f"the {_and(models)} model{'s' if len(models) > 1 else ''}"
    if not names:
        return f"How good is {of}, untouched?"
    over = f" over {_and([clipped(visible(key), 40) for key in varied])}" if varied else ""
    return f"What does {of} lose and gain with {_and(names)}{over}?"


def _values(table: Table, key: str) -> str:
    rows = [row for some in methods.methods(table).values() for row in some]
    texts = methods.levels(rows, key)
    texts.sort(key=lambda it: (methods.number(it) is None, methods.number(it) or 0.0))
    told = ", ".join(clipped(visible(text), methods.LABEL) for text in texts[:NAMED])
    more = len(texts) - NAMED
    return f"{told} and {more} more" if more > 0 else told


def _and(words: list[str]) -> str:
    """Words as a list in a sentence.

    >>> _and(["a"]), _and(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    shown = words[:NAMED]
    if len(words) > NAMED:
        shown = [*shown, f"{len(words) - NAMED} more"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
