"""Results that stay in a file from call to call, so that a long benchmark can be run in pieces."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Results = list[dict[str, Any]]


def earlier(path: Path) -> Results:
    """What the file holds; nothing, if there is none."""
    return json.loads(path.read_text(encoding="utf-8"))["results"] if path.exists() else []


def merged(old: Results, new: Results, keys: Sequence[str]) -> Results:
    """Both, in the order of ``keys``; of two results of the same, the new one.

    >>> merged([{"tokens": 512, "ms": 3}, {"tokens": 256, "ms": 1}], [{"tokens": 512, "ms": 2}],
    ...        ["tokens"])
    [{'tokens': 256, 'ms': 1}, {'tokens': 512, 'ms': 2}]
    """
    found = {tuple(it[key] for key in keys): it for it in old + new}
    return [found[key] for key in sorted(found)]
