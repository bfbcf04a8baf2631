"""Seeds of one setting are one row: what differs between them is luck, not a setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from memollm.report.cells import Cell
from memollm.report.settings import settings


def grouped(cells: Sequence[Cell]) -> list[list[Cell]]:
    """Cells that differ in their seeds alone, together; the groups as their first cells come.

    Cells of one seed are never put together, whatever else (another commit) sets them apart.
    """
    groups: dict[tuple, list[Cell]] = {}
    for cell in cells:
        texts = settings(cell.record.config)
        same = frozenset((key, text) for key, text in texts.items() if not _is_seed(key))
        commit = cell.record.provenance.get("commit")
        found = groups
        copies = 0
        while any(_seeds(other) == _seeds(cell) for other in found.get((same, commit, copies), [])):
            copies += 1
        found.setdefault((same, commit, copies), []).append(cell)
    return list(groups.values())


def told(cells: Sequence[Cell]) -> dict[str, str]:
    """The settings of a group; its seeds in one place, where there are several."""
    texts = settings(cells[0].record.config)
    if len(cells) == 1:
        return texts
    seeds = {settings(cell.record.config).get("seed", "?"): None for cell in cells}
    return {key: text for key, text in texts.items() if not _is_seed(key)} | {
        "seed": ", ".join(seeds)
    }


def _seeds(cell: Cell) -> Mapping[str, str]:
    return {key: text for key, text in settings(cell.record.config).items() if _is_seed(key)}


def _is_seed(key: str) -> bool:
    return key == "seed" or key.endswith(".seed")
