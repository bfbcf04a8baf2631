"""The losses of a training: passed on while it goes on, and its result in the end."""

from __future__ import annotations

import time

from memollm.record import Measured, Result
from memollm.tasks.base import Curves

LAST = 10  # logged steps whose mean loss is the training's


class Notebook:
    """Passes losses on, and remembers them."""

    def __init__(self, curves: Curves) -> None:
        self._curves = curves
        self._losses: dict[str, list[float]] = {}
        self._steps: list[tuple[int, float]] = []  # and when they were logged

    def log(self, metrics: dict[str, float], *, step: int) -> None:
        for name, loss in metrics.items():
            self._losses.setdefault(name, []).append(loss)
        self._steps.append((step, time.monotonic()))
        self._curves.log({f"training/{name}": loss for name, loss in metrics.items()}, step=step)

    def result(self, seconds: float, tokens: int | None = None) -> Result:
        """The losses of the last logged steps, and the pace: in ``tokens`` of a step, or steps."""
        metrics = {
            f"{name}_loss": Measured(
                sum(it[-LAST:]) / len(it[-LAST:]), "nats", False, len(it[-LAST:])
            )
            for name, it in self._losses.items()
        }
        if len(self._steps) > 1:
            (first, began), (last, ended) = self._steps[0], self._steps[-1]
            pace = (last - first) / max(ended - began, 1e-9)
            if tokens is None:
                metrics["steps_per_second"] = Measured(pace, "steps/s", True, last - first)
            else:
                metrics["tokens_per_second"] = Measured(
                    pace * tokens, "tokens/s", True, last - first
                )
        return Result(seconds, metrics)
