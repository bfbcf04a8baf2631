"""``samples.jsonl``: one line per measured example, written as soon as it is there.

Each line is flushed, so that a killed run loses at most the example it was at. Its last line
may then be torn; a torn line is no example.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from memollm.record import NON_FINITE, finite, replace

FILE = "samples.jsonl"


def rewrite(folder: Path, samples: Mapping[str, Iterable[Mapping[str, Any]]]) -> None:
    """Start ``folder``'s file anew, with ``samples`` by evaluation: what earlier runs measured."""
    lines = [_line(name, sample) for name, some in samples.items() for sample in some]
    replace(folder / FILE, "".join(lines))


def append(folder: Path, evaluation: str, sample: Mapping[str, Any]) -> None:
    """Add one sample, and see that it outlives this process."""
    with (folder / FILE).open("a", encoding="utf-8") as file:
        file.write(_line(evaluation, sample))


def read(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Samples by evaluation; empty where there is no file, without lines that cannot be read."""
    found: dict[str, list[dict[str, Any]]] = {}
    try:
        lines = (folder / FILE).read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return {}
    for line in lines:
        try:
            sample = _numbers(json.loads(line))
            found.setdefault(sample.pop("evaluation"), []).append(sample)
        except (ValueError, KeyError, AttributeError, TypeError):
            continue
    return found


def _line(evaluation: str, sample: Mapping[str, Any]) -> str:
    return json.dumps(finite({"evaluation": evaluation, **sample}), allow_nan=False) + "\n"


def _numbers(value: Any) -> Any:
    """``finite`` undone."""
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    return NON_FINITE.get(value, value) if isinstance(value, str) else value
