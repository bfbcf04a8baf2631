"""What the numbers come from: models, data, machines, versions, commits, and when."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from memollm.report.cells import Cell
from memollm.report.evidence import Evidence
from memollm.report.table import Table

SHORT = 12  # characters of a hash that tell it from all others


@dataclass(frozen=True)
class Fact:
    """Something about the origin, and its values among the cells: one, unless they are mixed."""

    name: str
    values: Mapping[str, int]  # how many cells have it

    @property
    def mixed(self) -> bool:
        return len(self.values) > 1


def facts(table: Table, evidence: Evidence) -> list[Fact]:
    """In the order in which a reader asks."""
    cells = [cell for row in [*table.rows, *table.unfinished] for cell in row.cells]
    cells = list({cell.folder: cell for cell in cells}.values())
    found = [
        _fact("model", (str(_model(cell)) for cell in cells)),
        _fact("evaluation", (name for cell in cells for name in cell.record.results)),
        *_texts(evidence),
        _fact("device", (_told(cell, "device") for cell in cells)),
        _fact("processor", (_told(cell, "cpu") for cell in cells)),
        _fact("GPU", (", ".join(map(str, _list(cell, "gpus"))) for cell in cells)),
        _fact("threads", (_told(cell, "threads") for cell in cells)),
        _fact("commit", (_commit(cell) for cell in cells)),
        _fact("source", (_told(cell, "source")[:SHORT] for cell in cells)),
        *_versions(cells),
        _fact("seed", (str(cell.record.config.get("seed", "")) for cell in cells)),
        _fact("day", (_told(cell, "started")[:10] for cell in cells)),
        _fact("command", (_told(cell, "command") for cell in cells)),
    ]
    return [it for it in found if it.values]


def hours(table: Table) -> float:
    """Time that all cells took together."""
    cells = {cell.folder: cell for row in [*table.rows, *table.unfinished] for cell in row.cells}
    return sum(cell.record.seconds for cell in cells.values()) / 3600


def evaluations(table: Table) -> dict[str, str]:
    """The settings of each evaluation as json, of the first cell that has them."""
    found: dict[str, str] = {}
    for row in table.rows:
        for name in row.cell.record.results:
            settings = (row.cell.record.config.get("evaluation") or {}).get(name)
            if settings is not None:
                found.setdefault(name, json.dumps(settings, ensure_ascii=False, default=str))
    return found


def _fact(name: str, values: Iterable[str]) -> Fact:
    counts: dict[str, int] = {}
    for value in values:
        if value:
            counts[value] = counts.get(value, 0) + 1
    return Fact(name, counts)


def _texts(evidence: Evidence) -> Iterator[Fact]:
    for name, hashes in evidence.texts.items():
        yield Fact(f"text of {name}", {text[:SHORT]: 1 for text in sorted(hashes)})


def _versions(cells: Iterable[Cell]) -> Iterator[Fact]:
    names: dict[str, list[str]] = {}
    for cell in cells:
        versions = cell.record.provenance.get("versions")
        if isinstance(versions, Mapping):
            for name, version in versions.items():
                names.setdefault(str(name), []).append(str(version))
    for name, versions in names.items():
        yield _fact(f"{name} version", versions)


def _model(cell: Cell) -> object:
    model = cell.record.config.get("model")
    return (model.get("name") or model.get("name_")) if isinstance(model, Mapping) else model


def _told(cell: Cell, key: str) -> str:
    value = cell.record.provenance.get(key)
    return "" if value is None else str(value)


def _list(cell: Cell, key: str) -> list[object]:
    value = cell.record.provenance.get(key)
    return value if isinstance(value, list) else []


def _commit(cell: Cell) -> str:
    commit = _told(cell, "commit")[:SHORT]
    return f"{commit} with changes" if commit and cell.record.provenance.get("dirty") else commit
