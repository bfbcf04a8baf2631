"""Thresholds: below which retention a token is forgotten, layer by layer.

What users write as ``threshold`` is one of four things, and becomes one ``Threshold``:

    0.01                       the same for every memory layer
    [0.01, 0.02, 0.05]         one for each memory layer
    {first: 0.01, last: 0.1}   a linear schedule from the first memory layer to the last
    auto                       no number: a ``budget`` of tokens, the lowest retention goes first
                               (what a budget means by itself: see memory.budget)

How a number moves while the sequence grows is a schedule's affair (memory.schedule).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

AUTO = "auto"
ALLOWED = (
    "a number in [0, 1), a list with one per memory layer, {first: a, last: b}, "
    "or auto with a budget"
)


@dataclass(frozen=True)
class Threshold:
    """What decides that a token of one layer is forgotten: a number, or else a budget."""

    value: float | None = None  # retention below which a token is forgotten; 0 forgets nothing
    budget: float | int | None = None  # share (0, 1) or count (>= 1) of tokens to keep
    least_length: int = 0  # tokens; the share is taken of as many at least

    def keep(self, seen: int) -> int:
        """Tokens that the budget leaves of ``seen`` tokens, before protection has its say.

        >>> Threshold(budget=0.1, least_length=1000).keep(256)
        100
        """
        assert self.budget is not None
        if isinstance(self.budget, int):
            return self.budget
        return round(self.budget * max(seen, self.least_length))


def parse(threshold: Any, budget: float | int | None) -> None:
    """Refuse what is no threshold, before the number of layers is known.

    Raises:
        ValueError: naming the key, the value and what is allowed.
    """
    if budget is not None and threshold != AUTO:
        raise ValueError(
            f"budget={budget} and threshold={threshold!r} exclude each other: a budget decides "
            "who is forgotten in place of a threshold; leave one of them out"
        )
    if isinstance(threshold, str) and threshold == AUTO:
        if budget is None:
            raise ValueError("threshold=auto needs a budget, the share or number of tokens to keep")
    elif isinstance(threshold, Mapping):
        if set(threshold) != {"first", "last"}:
            raise _refusal(threshold)
        for value in threshold.values():
            _require_number(value, threshold)
    elif isinstance(threshold, Sequence) and not isinstance(threshold, str):
        if not threshold:
            raise _refusal(threshold)
        for value in threshold:
            _require_number(value, threshold)
    else:
        _require_number(threshold, threshold)


def per_layer(threshold: Any, budget: float | int | None, layers: int) -> list[Threshold]:
    """The threshold of each of ``layers`` memory layers.

    >>> [round(t.value, 3) for t in per_layer({"first": 0.1, "last": 0.3}, None, 3)]
    [0.1, 0.2, 0.3]

    Raises:
        ValueError: if it is no threshold, or a list of another length.
    """
    parse(threshold, budget)
    if budget is not None:
        return [Threshold(budget=budget)] * layers
    if isinstance(threshold, Mapping):
        first, last = float(threshold["first"]), float(threshold["last"])
        step = (last - first) / max(layers - 1, 1)
        return [Threshold(first + step * layer) for layer in range(layers)]
    if isinstance(threshold, Sequence):
        if len(threshold) != layers:
            raise ValueError(
                f"threshold={list(threshold)} has {len(threshold)} numbers, but the memory has "
                f"{layers} layers: give one for each, or a single number"
            )
        return [Threshold(float(value)) for value in threshold]
    return [Threshold(float(threshold))] * layers


def numbers(threshold: Any) -> list[float]:
    """The numbers in what is known to be a threshold; none in ``auto``.

    >>> numbers({"first": 0.1, "last": 0.3}), numbers("auto")
    ([0.1, 0.3], [])
    """
    if isinstance(threshold, str):
        return []
    if isinstance(threshold, Mapping):
        return [float(value) for value in threshold.values()]
    return [float(it) for it in (threshold if isinstance(threshold, Sequence) else [threshold])]


def _require_number(value: Any, whole: Any) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or math.isnan(value) or not 0 <= value < 1:
        raise _refusal(whole)


def _refusal(threshold: Any) -> ValueError:
    return ValueError(f"threshold={threshold!r} is not allowed, choose {ALLOWED}")
