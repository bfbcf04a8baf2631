"""``python -m memollm.report outputs/multirun/<date>/<time>``: the report on what lies there."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from memollm.report import files, gallery, publish
from memollm.report.cells import read
from memollm.report.examples import SHOWN, collect
from memollm.report.table import table
from memollm.report.terminal import screen, show
from memollm.statistics.corrections import Correction


def main(arguments: list[str]) -> int:
    """Show the table of all records below the folders; write it, and the report, into the first."""
    parser = argparse.ArgumentParser(prog="python -m memollm.report", description=main.__doc__)
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="folder of runs")
    parser.add_argument("--out", type=Path, help="folder for the files")
    parser.add_argument(
        "--correction",
        type=Correction,
        choices=list(Correction),
        default=Correction.holm,
        help="for many comparisons: holm (no false finding in the table) or bh (few among them)",
    )
    parser.add_argument(
        "--failures", action="store_true", help="write the examples lost and won, too"
    )
    parser.add_argument(
        "--examples", type=int, default=SHOWN, help=f"of a cell, at most (default {SHOWN})"
    )
    given = parser.parse_args(arguments)
    for path in given.paths:
        if not path.is_dir():
            parser.error(f"PATH={path} is no folder")
    if given.examples < 1:
        parser.error(f"--examples={given.examples} is not allowed, it must be at least 1")
    cells = read(given.paths)
    if not cells.cells:
        parser.error(f"no run records below {', '.join(map(str, given.paths))}")
    compared, console = table(cells, given.correction), screen()
    show(compared, console)
    folder = given.out or given.paths[0]
    folder.mkdir(parents=True, exist_ok=True)
    written = files.write(compared, folder) + publish.write(cells, compared, folder)[:2]
    if given.failures:
        written += gallery.write(collect(cells, given.examples), folder)
    for path in written:
        console.print(f"Written to {path}", soft_wrap=True, highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
