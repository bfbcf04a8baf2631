"""The runs that lie below a folder, and which of them a person means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from memollm import record
from memollm.record import RunRecord, UnreadableRecord

SHORTEST_HASH = 4  # characters of a hash that may name a run
NAMED = 8  # runs that an error message lists


class Unclear(ValueError):
    """A name that means no run, or several."""


@dataclass(frozen=True)
class Run:
    """One record and where it lies."""

    folder: Path
    outputs: Path
    record: RunRecord

    @property
    def id(self) -> str:
        """Its folder below the outputs; outside of them, the whole path."""
        inside = self.folder.is_relative_to(self.outputs)
        return self.folder.relative_to(self.outputs).as_posix() if inside else str(self.folder)

    @property
    def started(self) -> str:
        return str(self.record.provenance.get("started") or "")


@dataclass(frozen=True)
class History:
    """All runs of a folder, newest first, and the files that should have been records."""

    outputs: Path
    runs: Sequence[Run]
    unreadable: Sequence[Path] = ()

    def one(self, name: str) -> Run:
        """The run that ``name`` means: a path, or the beginning of its id or of its hash.

        Raises:
            Unclear: if there is none, or more than one.
        """
        matching = self.below(name)
        if len(matching) == 1:
            return matching[0]
        if not matching:
            raise Unclear(
                f"there is no run {name!r} in {self.outputs}: give a path, or the beginning of a "
                f"date, a time or a hash that `ls` shows{self._unreadable(name)}"
            )
        told = ", ".join(run.id for run in matching[:NAMED])
        more = f", and {len(matching) - NAMED} more" if len(matching) > NAMED else ""
        raise Unclear(f"{name!r} means {len(matching)} runs: {told}{more}; say which")

    def below(self, name: str) -> list[Run]:
        """The runs that ``name`` means; a sweep's name means all its cells."""
        path = Path(name)
        if path.name == record.FILE:
            path = path.parent
        for folder in (path.resolve(), (self.outputs / name).resolve()):
            inside = [run for run in self.runs if run.folder.is_relative_to(folder)]
            if inside and folder != self.outputs:
                return inside
        if (path / record.FILE).is_file():  # of other outputs
            return [Run(path.resolve(), self.outputs, record.load(path))]
        return [run for run in self.runs if _means(name, run)]

    def _unreadable(self, name: str) -> str:
        broken = [it for it in self.unreadable if name in str(it)]
        return f" ({broken[0] / record.FILE} is not a readable record)" if broken else ""


def history(outputs: Path) -> History:
    """Read all records below ``outputs``."""
    outputs, found, unreadable = outputs.resolve(), [], []
    for folder in record.folders_below(outputs):
        try:
            found.append((folder, record.load(folder)))
        except UnreadableRecord:
            unreadable.append(folder)
    runs = [Run(folder, outputs, run) for folder, run in record.newest_first(found)]
    return History(outputs, runs, unreadable)


def _means(name: str, run: Run) -> bool:
    within = run.id.removeprefix("multirun/")
    time = within.partition("/")[2]
    beginnings = any(it.startswith(name) for it in (run.id, within, time))
    return beginnings or (len(name) >= SHORTEST_HASH and run.record.config_hash.startswith(name))
