"""``python -m memollm.report outputs/multirun/<date>/<time>``: the table of what lies there."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from memollm.report import files
from memollm.report.cells import read
from memollm.report.table import table
from memollm.report.terminal import screen, show


def main(arguments: list[str]) -> int:
    """Show the table of all records below the given folders, and write it into the first."""
    parser = argparse.ArgumentParser(prog="python -m memollm.report", description=main.__doc__)
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="folder of runs")
    parser.add_argument("--out", type=Path, help="folder for table.md and table.csv")
    given = parser.parse_args(arguments)
    for path in given.paths:
        if not path.is_dir():
            parser.error(f"PATH={path} is no folder")
    cells = read(given.paths)
    if not cells.cells:
        parser.error(f"no run records below {', '.join(map(str, given.paths))}")
    compared, console = table(cells), screen()
    show(compared, console)
    folder = given.out or given.paths[0]
    folder.mkdir(parents=True, exist_ok=True)
    for path in files.write(compared, folder):
        console.print(f"Written to {path}", soft_wrap=True, highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
