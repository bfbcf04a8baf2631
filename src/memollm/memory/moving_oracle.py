"""Oracles of thresholds that move: what ``Oracle.threshold`` may be but a number."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from memollm.memory.oracle import Oracle


def ramp(
    first: float, last: float, start: int, over: int, cosine: bool
) -> Callable[[Oracle], float]:
    """From ``first`` to ``last`` while ``over`` tokens come in, after the first ``start``."""

    def threshold(layer: Oracle) -> float:
        progress = min(max((len(layer.tokens) - start) / over, 0.0), 1.0)
        way = (1 - math.cos(math.pi * progress)) / 2 if cosine else progress
        return first + (last - first) * way

    return threshold


@dataclass
class Steering:
    """The threshold that feedback holds; the fields are those of ``Feedback``."""

    threshold: float
    target: float
    gain: float
    low: float
    high: float
    settled: int = 0  # tokens seen at the last chunk's end
    held: list[float] = field(default_factory=list)  # at each chunk's end so far

    def __call__(self, layer: Oracle) -> float:
        """The threshold of this chunk's end; what it leaves decides the next one."""
        now = self.threshold
        self.held.append(now)
        seen = len(layer.tokens)
        growth, self.settled = 1 + (seen - self.settled) / seen, seen
        mortal = layer.mortal()
        staying = [t for t in mortal if layer.left(t) >= now]
        protected = len(layer.kept()) - len(mortal)
        kept = protected + len(staying)
        wanted = max(self.target * seen, protected)
        if not mortal or kept == wanted:
            return now
        ages = [t.steps * layer.time_step / t.strength for t in (staying or mortal)]
        reach = max(ages) if staying else min(ages)
        moved = layer.retention(reach * growth * (wanted / max(kept, 1)) ** self.gain, 1.0)
        moved = min(max(moved, self.low), self.high)
        self.threshold = max(moved, now) if kept > wanted else min(moved, now)
        return now
