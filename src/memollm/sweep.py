"""A sweep as a whole: which of its cells have to be run, and how far they are.

Cells with equal hashes are one cell: the first of them is run, so that a sweep over thresholds
has one baseline, whatever the memory's keys say.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from memollm import identity, record, resume
from memollm.config import RunConfig
from memollm.record import RunRecord, Status, UnreadableRecord


class State(StrEnum):
    """Of a cell that is asked for, before anything is run."""

    finished = "finished"  # all of it is taken over from earlier runs
    begun = "to resume"  # some of it is
    new = "to run"
    same = "the same"  # as a cell before it


@dataclass(frozen=True)
class Planned:
    """What would become of one cell."""

    number: int
    title: str
    state: State
    because: str = ""  # where its results are, or which cell it is the same as
    same_as: int | None = None


def plan(cells: Sequence[RunConfig], titles: Sequence[str], outputs: Path) -> list[Planned]:
    """What would become of each cell.

    Args:
        cells: what is asked for.
        titles: what sets each apart, in words.
        outputs: folder of earlier runs.
    """
    seen: dict[str, int] = {}
    earlier = resume.everything([outputs])
    planned = []
    for number, (cell, title) in enumerate(zip(cells, titles, strict=True)):
        whole = identity.cell_hash(cell)
        if whole in seen:
            first = seen[whole]
            planned.append(Planned(number, title, State.same, f"as {first}", first))
            continue
        seen[whole] = number
        state, because = _state(cell, whole, earlier)
        planned.append(Planned(number, title, state, because))
    return planned


def told(planned: Sequence[Planned]) -> Iterator[str]:
    """A line for each cell, and one that sums them up."""
    width = len(str(len(planned) - 1))
    for it in planned:
        because = f"  ({it.because})" if it.because else ""
        yield f"{it.number:>{width}}  {it.state:<9}  {it.title}{because}"
    states = [it.state for it in planned]
    counts = ", ".join(f"{states.count(state)} {state}" for state in State if state in states)
    plural = "s" if len(planned) > 1 else ""
    yield f"{len(planned)} cell{plural}: {counts}. Nothing was run (dry_run=true)."


@dataclass(frozen=True)
class Count:
    """How far a sweep is. A cell that is the same as another is skipped once that is done."""

    total: int
    measured: int
    skipped: int
    failed: int
    left: float | None  # seconds, about; None: nobody knows

    @property
    def settled(self) -> int:
        return self.measured + self.skipped + self.failed

    @property
    def good(self) -> int:
        return self.measured + self.skipped

    @property
    def details(self) -> str:
        """What has become of the cells so far, and how long the rest may take."""
        eta = f", about {duration(self.left)} left" if self.left is not None else ""
        return f"{self.measured} measured, {self.skipped} skipped, {self.failed} failed{eta}"

    def __str__(self) -> str:
        return f"{self.settled}/{self.total} cells: {self.details}"


@dataclass
class Tally:
    """Counts the cells of a sweep by their records, wherever they are run.

    Args:
        folder: of the sweep; its cells lie below, by number.
        total: how many cells were asked for.
        same: cells that are the same as another, by number, and as which.
        costly: how many of the others have something to measure, as far as is known.
    """

    folder: Path
    total: int
    same: Mapping[int, int]
    costly: int
    began: float = field(default_factory=time.time)
    _old: dict[int, object] = field(default_factory=dict)  # when cells began that ran before this
    _settled: dict[int, RunRecord] = field(default_factory=dict)

    @classmethod
    def of(cls, planned: Sequence[Planned], folder: Path) -> Tally:
        """The tally of a sweep that is about to begin."""
        same = {it.number: it.same_as for it in planned if it.same_as is not None}
        costly = sum(it.state in (State.begun, State.new) for it in planned)
        tally = cls(folder, len(planned), same, costly)
        tally._old = {number: _began(run) for number, run in tally._records()}
        return tally

    def missing(self) -> list[int]:
        """Cells that have come to no end, good or bad."""
        self._look()
        distinct = [number for number in range(self.total) if number not in self.same]
        return [number for number in distinct if number not in self._settled]

    def count(self) -> Count:
        """How many cells are where."""
        self._look()
        taken = [n for n, run in self._settled.items() if _taken_over(run)]
        failed = [n for n, run in self._settled.items() if run.status == Status.failed]
        measured = len(self._settled) - len(taken) - len(failed)
        twins = [first for first in self.same.values() if first in self._settled]
        broken = sum(first in failed for first in twins)
        return Count(
            self.total,
            measured,
            len(taken) + len(twins) - broken,
            len(failed) + broken,
            self._left(measured + len(failed)),
        )

    def _left(self, done: int) -> float | None:
        remaining = self.costly - done
        if not done or remaining <= 0:
            return None
        return (time.time() - self.began) / done * remaining

    def _look(self) -> None:
        for number, run in self._records():
            if run.status != Status.running and self._old.get(number) != _began(run):
                self._settled[number] = run

    def _records(self) -> Iterator[tuple[int, RunRecord]]:
        for number in range(self.total):
            folder = self.folder / str(number)
            known = number in self._settled or number in self.same
            if not known and (folder / record.FILE).exists():
                with contextlib.suppress(UnreadableRecord):
                    yield number, record.load(folder)


def duration(seconds: float) -> str:
    """Time as people say it.

    >>> duration(42.0), duration(600.0), duration(9000.0)
    ('42 s', '10 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _state(cell: RunConfig, whole: str, earlier: resume.Runs) -> tuple[State, str]:
    if cell.force or not cell.resume or not cell.task.measures:
        return State.new, ""
    found = resume.find(identity.evaluation_hashes(cell), whole, earlier)
    where = ", ".join({str(it.folder): None for it in found.found.values()})
    if len(found.finished) == len(cell.evaluation):
        return State.finished, where
    if not found.found:
        return State.new, ""
    kept = ", ".join(
        f"{name} {'finished' if it.result else f'{len(it.samples)} samples'}"
        for name, it in found.found.items()
    )
    return State.begun, f"{kept}: {where}"


def _began(run: RunRecord) -> object:
    return run.provenance.get("started")


def _taken_over(run: RunRecord) -> bool:
    return run.status == Status.finished and run.reused_from.keys() >= run.results.keys() > set()
