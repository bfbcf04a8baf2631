"""Plain data out of whatever a measurement holds: what json, and so any tracker, can take."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def plain(value: Any) -> Any:
    """``value`` as None, bool, number, text, list or dict.

    Scalars and arrays of numpy and torch become numbers and lists; anything else its text.

    >>> plain({"depth": (0.5, None), "kind": {1: "a"}})
    {'depth': [0.5, None], 'kind': {'1': 'a'}}
    """
    if isinstance(value, str):
        # A lone surrogate, half of a character cut in two, has no UTF-8 and would be refused.
        return value.encode("utf-8", "replace").decode("utf-8")
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {plain(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    to_python = getattr(value, "tolist", None)  # numpy's and torch's name for it
    return plain(str(value)) if to_python is None else to_python()


def grid(rows: Sequence[Mapping[str, Any]]) -> tuple[list[Any], list[Any]]:
    """Rows as column names, in order of first appearance, and cells; a missing cell is None.

    A cell holds no structure: lists and dicts become json text.

    >>> grid([{"id": "a", "depth": 0.5}, {"id": "b", "layers": [1, 2]}])
    (['id', 'depth', 'layers'], [['a', 0.5, None], ['b', None, '[1, 2]']])
    """
    columns = list(dict.fromkeys(str(key) for row in rows for key in row))
    named = [{str(key): item for key, item in row.items()} for row in rows]
    return columns, [[_cell(row.get(column)) for column in columns] for row in named]


def _cell(value: Any) -> Any:
    value = plain(value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value
