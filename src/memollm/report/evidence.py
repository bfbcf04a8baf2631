"""What the samples of all cells say together, read cell by cell and added up at once.

A sweep of a thousand cells has more samples than fit into memory; their sums do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from memollm import samples
from memollm.report.cells import Cell, Cells
from memollm.report.table import Row, Table

AXES = ("position", "distance")  # along which an evaluation tallies its losses
Tally = Mapping[str, Sequence[int | float]]  # bucket: tokens, and the sum of their losses


@dataclass
class Grid:
    """Answers by length of the context and depth of what was asked for: right ones, and all."""

    cells: dict[tuple[int, float], tuple[int, int]] = field(default_factory=dict)

    def add(self, length: int, depth: float, correct: bool) -> None:
        right, n = self.cells.get((length, depth), (0, 0))
        self.cells[length, depth] = right + int(correct), n + 1


@dataclass(frozen=True)
class Loss:
    """Mean loss of the tokens of a bucket, nats, with its standard error over windows.

    Of answers it is the share that is right, with its standard error over prompts.
    """

    value: float
    stderr: float | None
    tokens: int  # or answers


@dataclass
class Evidence:
    """By evaluation. Rows are named by their index in the table."""

    grids: dict[tuple[str, str], dict[int, Grid]] = field(default_factory=dict)  # (it, asking)
    losses: dict[tuple[str, str], dict[int, dict[str, Loss]]] = field(default_factory=dict)
    changes: dict[tuple[str, str], dict[int, dict[str, Loss]]] = field(default_factory=dict)
    found: dict[tuple[str, str], dict[int, dict[str, Loss]]] = field(default_factory=dict)  # by age
    texts: dict[str, set[str]] = field(default_factory=dict)  # fingerprints of what was read
    empty: list[tuple[int, str]] = field(default_factory=list)  # results without their samples
    unknown: list[tuple[int, str]] = field(default_factory=list)  # samples that could not be used


def gather(cells: Cells, table: Table) -> Evidence:
    """Read the samples of every row."""
    found, baselines = Evidence(), {}
    for index, row in enumerate(table.rows):
        for cell in row.cells:
            _read(cells, index, row, cell, found, baselines)
    return found


def _read(
    cells: Cells,
    index: int,
    row: Row,
    cell: Cell,
    found: Evidence,
    baselines: dict[tuple[Any, str], list[dict[str, Any]]],
) -> None:
    every = samples.read(cell.folder)
    for name in cell.record.results:
        some = every.get(name, [])
        if not some:
            found.empty.append((index, name))
            continue
        if cell.is_baseline:
            baselines[cell.folder, name] = some
        try:
            _texts(found, name, some)
            _answers(found, index, name, some)
            if cell is row.cell:  # of several seeds, the first
                other = cells.baseline_of(cell, name)
                theirs = baselines.get((other.folder, name), []) if other else []
                _tallies(found, index, name, some, [] if cell.is_baseline else theirs)
        except (KeyError, TypeError, ValueError, ZeroDivisionError):
            found.unknown.append((index, name))


def _texts(found: Evidence, name: str, some: Sequence[Mapping[str, Any]]) -> None:
    texts = {it["text"] for it in some if isinstance(it.get("text"), str)}
    found.texts.setdefault(name, set()).update(texts)


def _answers(found: Evidence, index: int, name: str, some: Sequence[Mapping[str, Any]]) -> None:
    for it in some:
        if {"length", "depth", "correct"} <= it.keys():
            grids = found.grids.setdefault((name, str(it.get("asking", "streamed"))), {})
            depth = float(it["depth"])
            grids.setdefault(index, Grid()).add(int(it["length"]), depth, bool(it["correct"]))
    aged = [it for it in some if {"age_bucket", "asking", "prompt", "correct"} <= it.keys()]
    for asking in dict.fromkeys(str(it["asking"]) for it in aged):
        prompts: dict[str, dict[str, list[int]]] = {}
        for it in aged:
            if it["asking"] == asking:
                tally = prompts.setdefault(str(it["prompt"]), {})
                answers = tally.setdefault(str(it["age_bucket"]), [0, 0])
                answers[0] += 1
                answers[1] += bool(it["correct"])
        found.found.setdefault((name, asking), {})[index] = means(list(prompts.values()))


def _tallies(
    found: Evidence,
    index: int,
    name: str,
    ours: Sequence[Mapping[str, Any]],
    baseline: Sequence[Mapping[str, Any]],
) -> None:
    theirs = {str(it["id"]): it for it in baseline}
    for axis in AXES:
        own = [it[axis] for it in ours if axis in it]
        if own:
            found.losses.setdefault((name, axis), {})[index] = means(own)
        pairs = [
            (it[axis], theirs[str(it["id"])][axis])
            for it in ours
            if axis in it and axis in theirs.get(str(it["id"]), {})
        ]
        if pairs:
            found.changes.setdefault((name, axis), {})[index] = means(
                [_less(mine, other) for mine, other in pairs]
            )


def means(tallies: Sequence[Tally]) -> dict[str, Loss]:
    """By bucket, the mean loss of a token over windows.

    >>> means([{"0_64": [10, 20.0]}, {"0_64": [30, 20.0]}])["0_64"].value
    1.0
    """
    buckets = dict.fromkeys(name for tally in tallies for name in tally)
    return {
        name: _loss([(float(it[name][0]), float(it[name][1])) for it in tallies if name in it])
        for name in sorted(buckets, key=_order)
    }


def _less(mine: Tally, other: Tally) -> dict[str, tuple[int | float, int | float]]:
    """Ours less theirs, where both tell of the same tokens."""
    return {
        name: (mine[name][0], mine[name][1] - other[name][1])
        for name in mine
        if name in other and mine[name][0] == other[name][0]
    }


def _loss(parts: Sequence[tuple[float, float]]) -> Loss:
    tokens = math.fsum(size for size, _ in parts)
    mean = math.fsum(total for _, total in parts) / tokens
    n = len(parts)
    if n < 2:
        return Loss(mean, None, int(tokens))
    spread = math.fsum((total - mean * size) ** 2 for size, total in parts)
    return Loss(mean, math.sqrt(spread * n / (n - 1)) / tokens, int(tokens))


def _order(bucket: str) -> tuple[bool, int]:
    first = bucket.partition("_")[0]
    return (not first.isdigit(), int(first) if first.isdigit() else 0)
