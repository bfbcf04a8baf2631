"""The table on the terminal, and what a run's end says to the person who waited for it."""

from __future__ import annotations

from pathlib import Path

import rich.table
from rich.console import Console
from rich.text import Text

from memollm.record import Status
from memollm.report import files, gallery
from memollm.report.cells import read, with_baselines
from memollm.report.examples import collect
from memollm.report.notes import method, remarks, unfinished
from memollm.report.table import Table, table
from memollm.report.wording import MISSING, lines

UNBOUND = 1000  # characters
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
    beside = with_baselines(cells, outputs)
    compared = table(beside)
    console.print()
    show(compared, console)
    if len(cells.cells) > 1:
        written = files.write(compared, folder) + gallery.write(collect(beside), folder)
        from memollm.report import publish  # imports what draws

        written += publish.write(beside, compared, folder)[:2]
        where = f"{_short(folder)}: {', '.join(path.name for path in written)}"
    else:
        where = _short(cells.cells[0].folder / "record.json")
        measured = bool(cells.cells[0].record.evaluation_hashes)
        if (
            measured
            and not cells.cells[0].is_baseline
            and not any(row.cell.is_baseline for row in compared.rows)
        ):
            console.print(Text(NO_BASELINE), soft_wrap=True)
    console.print(Text(f"Written to {where}"), soft_wrap=True)
    return _exit_code([cell.record for cell in cells.cells])


def screen() -> Console:
    """The terminal; a file or pipe takes lines of any length."""
    console = Console()
    return console if console.is_terminal else Console(width=UNBOUND)


def show(table: Table, console: Console) -> None:
    """Print ``table``: green and red where a difference from the baseline is resolved."""
    grid = rich.table.Table(title_justify="left", caption_justify="left", show_lines=True)
    for key in table.settings:
        grid.add_column(key, overflow="fold")
    for heading in (*(column.heading for column in table.columns), *files.MEMORY):
        grid.add_column(heading, justify="right")
    for row in table.rows:
        words = [Text(row.settings.get(key, MISSING)) for key in table.settings]
        for column in table.columns:
            it = row.entries.get(column)
            style = STYLES[it.better if it else None]
            words.append(Text("\n".join(lines(it)), style=style))
        words += [Text(word.replace(" (", "\n(")) for word in files.memory(row)]
        grid.add_row(*words)
    if table.rows:
        console.print(grid)
        told = ", ".join(f"{key} {text}" for key, text in table.shared.items())
        said = [f"All: {told}."] if told else []
        console.print(Text(" ".join([*said, method(table)])), soft_wrap=True)
    for line in remarks(table):
        console.print(Text(line), soft_wrap=True)
    for line in unfinished(table):
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
