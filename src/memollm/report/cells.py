"""The cells to report on: each once, and beside it the baseline it is compared with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from memollm import record
from memollm.record import RunRecord, Status, UnreadableRecord


@dataclass(frozen=True)
class Cell:
    """One record and where it lies."""

    folder: Path
    record: RunRecord

    @property
    def is_baseline(self) -> bool:
        return self.record.config.get("memory") is None


@dataclass(frozen=True)
class Cells:
    """What was found: the distinct cells, in the order in which they ran, baselines first."""

    cells: Sequence[Cell]
    unreadable: int = 0  # files that should have been records

    def baseline_of(self, cell: Cell, evaluation: str) -> Cell | None:
        """The cell that measured the untouched model in the same evaluation, if there is one."""
        wanted = cell.record.baseline_hashes.get(evaluation)
        for other in self.cells:
            same = other.record.evaluation_hashes.get(evaluation) == wanted is not None
            if same and evaluation in other.record.results:
                return other
        return None


def read(paths: Iterable[Path]) -> Cells:
    """All distinct cells below ``paths``; of equal ones the finished, then the newest."""
    found, unreadable = [], 0
    folders = {folder.resolve() for path in paths for folder in record.folders_below(path)}
    for folder in sorted(folders):
        try:
            found.append((folder, record.load(folder)))
        except UnreadableRecord:
            unreadable += 1
    return Cells(_distinct(found), unreadable)


def with_baselines(cells: Cells, root: Path) -> Cells:
    """``cells``, and the newest baselines below ``root`` where they lack their own."""
    wanted = {
        hashed
        for cell in cells.cells
        for evaluation, hashed in cell.record.baseline_hashes.items()
        if cells.baseline_of(cell, evaluation) is None
    }
    found = [(cell.folder, cell.record) for cell in cells.cells]
    for folder in record.folders_below(root):
        try:
            text = (folder / record.FILE).read_text(encoding="utf-8")
            if any(hashed in text for hashed in wanted):
                run = record.load(folder)
                if run.status == Status.finished and run.config.get("memory") is None:
                    found.append((folder.resolve(), run))
        except (OSError, ValueError):
            continue
    return Cells(_distinct(found), cells.unreadable)


def _distinct(found: Iterable[tuple[Path, RunRecord]]) -> list[Cell]:
    chosen: dict[str, Cell] = {}
    for folder, run in record.newest_first(found):
        other = chosen.get(run.config_hash)
        better = run.status == Status.finished and (
            other is not None and other.record.status != Status.finished
        )
        if other is None or better:
            chosen[run.config_hash] = Cell(folder, run)
    cells = sorted(chosen.values(), key=lambda cell: str(cell.record.provenance.get("started")))
    return sorted(cells, key=lambda cell: not cell.is_baseline)
