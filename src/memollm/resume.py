"""What earlier runs measured already, so that nothing is measured twice.

An evaluation's result is taken over from any record that has it under the same hash, whatever
became of that run; if there is none, its samples are, from the newest run that has some.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from memollm import record, samples
from memollm.record import Result, RunRecord, Status, UnreadableRecord

Samples = list[dict[str, Any]]
Runs = list[tuple[Path, RunRecord]]


@dataclass(frozen=True)
class Found:
    """What is there for one evaluation."""

    folder: Path
    samples: Samples
    result: Result | None  # None: it was not finished


@dataclass(frozen=True)
class Earlier:
    """What is there for a cell, by evaluation."""

    found: Mapping[str, Found] = field(default_factory=dict)
    unfinished: Path | None = None  # the newest run of the same cell that did not finish

    @property
    def finished(self) -> dict[str, Found]:
        """Evaluations that need not be measured."""
        return {name: found for name, found in self.found.items() if found.result is not None}

    @property
    def samples(self) -> dict[str, Samples]:
        """All samples that are taken over."""
        return {name: found.samples for name, found in self.found.items()}


def search(hashes: Mapping[str, str], config_hash: str, roots: Iterable[Path]) -> Earlier:
    """Look through all records below ``roots``; what is no record is passed over."""
    return find(hashes, config_hash, _candidates(hashes, roots))


def everything(roots: Iterable[Path]) -> Runs:
    """All records below ``roots``, the newest first: for who looks for many cells."""
    runs = []
    for folder in sorted(_folders(roots)):
        with contextlib.suppress(UnreadableRecord):
            runs.append((folder, record.load(folder)))
    return record.newest_first(runs)


def find(hashes: Mapping[str, str], config_hash: str, candidates: Runs) -> Earlier:
    """What ``candidates``, the newest first, have of a cell."""
    found = {
        name: best
        for name, wanted in hashes.items()
        if (best := _best(name, wanted, candidates)) is not None
    }
    taken = {it.folder for it in found.values()}
    unfinished = [
        folder
        for folder, run in candidates
        if folder in taken and run.config_hash == config_hash and run.status != Status.finished
    ]
    return Earlier(found, unfinished[0] if unfinished else None)


def _best(name: str, wanted: str, candidates: Runs) -> Found | None:
    same = [
        (folder, run) for folder, run in candidates if wanted == run.evaluation_hashes.get(name)
    ]
    for folder, run in same:
        if name in run.results:
            return Found(folder, samples.read(folder).get(name, []), run.results[name])
    for folder, _ in same:
        if some := samples.read(folder).get(name):
            return Found(folder, some, None)
    return None


def _folders(roots: Iterable[Path]) -> set[Path]:
    return {folder.resolve() for root in roots for folder in record.folders_below(root)}


def _candidates(hashes: Mapping[str, str], roots: Iterable[Path]) -> Runs:
    runs = []
    for folder in sorted(_folders(roots)):
        try:
            text = (folder / record.FILE).read_text(encoding="utf-8")
            if any(wanted in text for wanted in hashes.values()):  # cheaper than to parse them all
                runs.append((folder, record.load(folder)))
        except (OSError, ValueError, UnreadableRecord):
            continue
    return record.newest_first(runs)
