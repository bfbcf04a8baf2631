"""What sets cells apart: their settings, under the names that people type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

NO_RESULT = (
    "tracker",
    "outputs",
    "resume",
    "force",
    "dry_run",
    "objective",
    "trace",
)  # keys that no result depends on
HANDED_DOWN = (  # the memory's copies of top-level keys
    "memory.threshold",
    "memory.strength",
    "memory.layer_fraction",
    "memory.retention",
    "memory.policy",
    "memory.pattern",
    "memory.budget",
)
OF_THE_MEMORY = (
    "threshold",
    "memory_strength",
    "layer_fraction",
    "retention",
    "policy",
    "budget",
    "pattern",
)
ALWAYS_TOLD = (
    "model",
    "policy",
    "pattern",
    "budget",
    "threshold",
    "memory_strength",
    "layer_fraction",
    "limit",
    "seed",
)


def settings(config: Mapping[str, Any]) -> dict[str, str]:
    """A cell's settings, flat: ``memory.sinks`` is "4"; a part's own name stands under its group.

    In a mode without memory, the memory's settings are left out.
    """
    without = OF_THE_MEMORY if config.get("memory") is None else ()
    flat: dict[str, str] = {}
    for key, value in config.items():
        if value is not None and key not in NO_RESULT and key not in without:
            _flatten(key, value, flat)
    return {key: text for key, text in flat.items() if not key.startswith(HANDED_DOWN)}


def differing(cells: Sequence[Mapping[str, str]]) -> list[str]:
    """Keys with more than one value among the cells that have them; ``mode`` always, and first."""
    keys = {key: None for cell in cells for key in cell if key != "mode"}  # a set with an order
    return ["mode"] + [key for key in keys if len({cell[key] for cell in cells if key in cell}) > 1]


def shared(cells: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The settings that a reader asks for first, where all cells that have them agree."""
    apart = differing(cells)
    common = {key: text for cell in cells for key, text in cell.items()}
    return {key: common[key] for key in ALWAYS_TOLD if key in common and key not in apart}


def _flatten(key: str, value: Any, flat: dict[str, str]) -> None:
    if isinstance(value, Mapping) and "name_" in value:
        name = value.get("name") or value["name_"]  # of a model: which one
        flat[key] = str(name)
        for inner, item in value.items():
            if inner not in ("name_", "name"):
                _flatten(f"{key}.{inner}", item, flat)
    elif isinstance(value, Mapping) and key == "evaluation":
        for inner, item in value.items():
            _flatten(f"{key}.{inner}", item, flat)
    else:
        flat[key] = str(value)
