"""The table on the terminal, and what a run's end says to the person who waited for it."""

from __future__ import annotations

from pathlib import Path

import rich.table
from rich.console import Console
from rich.text import Text

from memollm.record import Status
from memollm.report import files
from memollm.report.cells import read, with_baselines
from memollm.report.table import Table, table

UNBOUND = 1000  # characters
BRACKETS = " In brackets: distance from the baseline."
NO_BASELINE = (
    "No baseline of these evaluations has been measured yet: the same command with mode=baseline "
    "does it, and is then compared with."
)
STYLES = {True: "green", False: "red", None: ""}


def conclude(folder: Path, outputs: Path, console: Console | None = None) -> int:
    """Show what the run or sweep in ``folder`` found, and say where; give its exit code."""
    console = console or screen()
    cells = read([folder])
    if not cells.cells:
        console.print(f"No record was written to {folder}")
        return 1
    compared = table(with_baselines(cells, outputs))
    console.print()
    show(compared, console)
    if len(cells.cells) > 1:
        where = ", ".join(_short(path) for path in files.write(compared, folder))
    else:
        where = _short(cells.cells[0].folder / "record.json")
        if not cells.cells[0].is_baseline and not any(
            row.cell.is_baseline for row in compared.rows
        ):
            console.print(Text(NO_BASELINE), soft_wrap=True)
    console.print(Text(f"Written to {where}"), soft_wrap=True)
    return _exit_code([cell.record for cell in cells.cells])


def screen() -> Console:
    """The terminal; a file or pipe takes lines of any length."""
    console = Console()
    return console if console.is_terminal else Console(width=UNBOUND)


def show(table: Table, console: Console) -> None:
    """Print ``table``: green and red where a difference exceeds two standard errors."""
    grid = rich.table.Table(title_justify="left", caption_justify="left")
    for key in table.settings:
        grid.add_column(key, overflow="fold")
    for heading in (*(column.heading for column in table.columns), *files.MEMORY):
        grid.add_column(heading, justify="right")
    for row in table.rows:
        words = [Text(word) for word in files.texts(table, row)]
        for place, column in enumerate(table.columns, start=len(table.settings)):
            if column in row.entries:
                words[place].stylize(STYLES[row.entries[column].better])
        grid.add_row(*words)
    if table.rows:
        console.print(grid)
        compared = any(it.delta is not None for row in table.rows for it in row.entries.values())
        told = ", ".join(f"{key} {text}" for key, text in table.shared.items())
        console.print(Text(f"All: {told}." + (BRACKETS if compared else "")), soft_wrap=True)
    for line in files.unfinished(table):
        console.print(Text(line, style="red"), soft_wrap=True)


def _exit_code(records: list) -> int:
    errors = [it.error.type for it in records if it.error is not None]
    if len(records) == 1 and errors == ["Refused"]:
        return 2
    return 0 if all(it.status == Status.finished for it in records) else 1


def _short(path: Path) -> str:
    """``path`` from here, if it lies below."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
