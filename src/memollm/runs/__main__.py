"""What was run, over all of ``outputs/``: find runs, look at one, compare two, remove some.

    python -m memollm.runs ls mode=soft_delete threshold=0.01 --status finished --since 2d
    python -m memollm.runs show 2026-11-21/12-48
    python -m memollm.runs diff 4f3a9c 77b01e
    python -m memollm.runs rm 2026-11-20

RUN is a path, or the beginning of a date and time or of a hash that `ls` shows.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from memollm import record
from memollm.record import Status, UnreadableRecord
from memollm.report.inert import visible
from memollm.report.terminal import screen
from memollm.runs import chosen, comparison, listing, removal, showing
from memollm.runs.found import History, history

BRACKETS = (
    "In brackets: 95 % intervals, over the same prompts; unpaired ones are of the standard errors, "
    "as if the prompts were others. p is not corrected for the number of metrics."
)


def main(arguments: list[str], console: Console | None = None) -> int:
    """Do what is asked for. Exit code 1: nothing was found or removed, 2: it was refused."""
    given = _given(arguments)
    console = console or screen()
    try:
        if not given.outputs.is_dir():
            raise ValueError(f"--outputs={given.outputs} is no folder: run something first")
        return given.act(given, history(given.outputs), console)
    except (ValueError, OSError, UnreadableRecord) as error:
        print(f"error: {visible(str(error))}", file=sys.stderr)
        return 2


def ls(given: argparse.Namespace, known: History, console: Console) -> int:
    since = chosen.moment(given.since) if given.since else None
    status = Status(given.status) if given.status else None
    runs = chosen.chosen(known.runs, given.filters, status, given.evaluation, since)
    shown = runs[: given.number]
    if given.json:
        _print_json([listing.plain(run) for run in shown])
        return 0
    if shown:
        console.print(listing.table(shown))
    told = [f"{len(shown)} of {len(known.runs)} runs in {known.outputs}"]
    if len(runs) > len(shown):
        told.append(f"{len(runs) - len(shown)} more match: -n 0 shows all")
    if known.unreadable:
        broken = ", ".join(str(it / record.FILE) for it in known.unreadable[:3])
        told.append(f"{len(known.unreadable)} records cannot be read: {broken}")
    console.print(Text("; ".join(told), style="dim"), soft_wrap=True)
    return 0 if shown else 1


def show(given: argparse.Namespace, known: History, console: Console) -> int:
    run = known.one(given.run)
    if given.json:
        _print_json(showing.plain(run))
    else:
        showing.show(run, known, console)
    return 0


def diff(given: argparse.Namespace, known: History, console: Console) -> int:
    found = comparison.compare(known.one(given.first), known.one(given.second))
    if given.json:
        _print_json(comparison.plain(found))
        return 0
    for name, run in (("A", found.first), ("B", found.second)):
        started = listing.when(run.started)
        console.print(listing.text(f"{name}  {run.id}  {run.record.status}  {started}"))
    for title, changes in (("Settings", found.settings), ("Origin", found.origin)):
        console.print(Text(f"\n{title}", style="bold"))
        rows = [(it.key, it.first or "–", it.second or "–") for it in changes]
        _print_rows(console, ("", "A", "B"), rows, "no difference")
    every = found.measurements
    told = every if given.all else [it for it in every if not (it.same or it.breakdown)]
    console.print(Text("\nMetrics", style="bold"))
    rows = [(f"{it.evaluation} {it.metric}", *comparison.words(it)) for it in told]
    _print_rows(console, ("", "A", "B", "B less A"), rows, "no difference")
    if len(told) < len(every):
        more = f"{len(every) - len(told)} more are equal, or parts of these: --all shows them"
        console.print(Text(more, style="dim"))
    if told:
        console.print(Text(BRACKETS, style="dim"), soft_wrap=True)
    return 0


def rm(given: argparse.Namespace, known: History, console: Console) -> int:
    runs = {
        run.folder: run for name in given.runs for run in known.below(name) or [known.one(name)]
    }
    for run in runs.values():
        removal.require_removable(run, given.interrupted)
    for run in runs.values():
        console.print(listing.text(f"{run.id}  {run.record.status}  {listing.when(run.started)}"))
        others = [it for it in removal.relying(run, known) if it.folder not in runs]
        if others:
            names = ", ".join(it.id for it in others)
            told = f"  {len(others)} other runs took results over from it and keep them: {names}"
            console.print(listing.text(told), soft_wrap=True)
    if not given.yes and not _confirmed(len(runs)):
        print("Nothing was removed.")
        return 1
    for folder in removal.remove(list(runs.values()), known.outputs):
        console.print(Text(f"Removed {folder}"), soft_wrap=True)
    return 0


def _confirmed(count: int) -> bool:
    what = "this run" if count == 1 else f"these {count} runs"
    try:
        return input(f"Remove {what} for good? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _print_rows(
    console: Console, headings: Sequence[str], rows: Sequence[Sequence[str]], otherwise: str
) -> None:
    if not rows:
        console.print(Text(otherwise, style="dim"))
        return
    grid = Table(*headings, box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for row in rows:
        grid.add_row(*(listing.text(it) for it in row))
    console.print(grid)


def _print_json(value: Any) -> None:
    print(json.dumps(record.finite(value), indent=2, allow_nan=False, default=str))


def _given(arguments: list[str]) -> argparse.Namespace:
    """The command line, its options and other words in any order."""
    parser = argparse.ArgumentParser(
        prog="python -m memollm.runs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--outputs", type=Path, default=Path("outputs"), help="folder of all runs")
    answering = argparse.ArgumentParser(add_help=False, parents=[shared])
    answering.add_argument("--json", action="store_true", help="for programs")
    commands = parser.add_subparsers(required=True)

    listed = commands.add_parser("ls", parents=[answering], help="find runs, newest first")
    listed.add_argument("filters", nargs="*", metavar="key=value", help="settings; a,b: either")
    listed.add_argument("--status", choices=[str(it) for it in Status])
    listed.add_argument("--evaluation", metavar="NAME", help="with a result of it")
    listed.add_argument("--since", metavar="WHEN", help="2026-11-20, or how long ago: 12h, 2d")
    listed.add_argument(
        "-n", dest="number", type=_many, default=20, metavar="N", help="at most (20); 0: all"
    )
    listed.set_defaults(act=ls)

    one = commands.add_parser("show", parents=[answering], help="everything of one run")
    one.add_argument("run", metavar="RUN")
    one.set_defaults(act=show)

    two = commands.add_parser("diff", parents=[answering], help="what changed from A to B")
    two.add_argument("first", metavar="A")
    two.add_argument("second", metavar="B")
    two.add_argument(
        "--all", action="store_true", help="metrics that are equal, or parts of others, too"
    )
    two.set_defaults(act=diff)

    gone = commands.add_parser("rm", parents=[shared], help="remove runs, or whole sweeps")
    gone.add_argument("runs", nargs="+", metavar="RUN")
    gone.add_argument("--yes", action="store_true", help="do not ask")
    gone.add_argument(
        "--interrupted", action="store_true", help="what says it is running was killed"
    )
    gone.set_defaults(act=rm)
    known = commands.choices
    if not arguments or arguments[0] not in known:
        return parser.parse_args(arguments)  # shows help, or says what is wrong
    return known[arguments[0]].parse_intermixed_args(arguments[1:])


def _many(text: str) -> int | None:
    count = int(text)
    if count < 0:
        raise argparse.ArgumentTypeError(f"{text} is not allowed, it must be at least 0")
    return count or None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
