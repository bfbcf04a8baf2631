"""Measuring: the evaluations of a cell, on its model under its memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from memollm.record import Result
from memollm.registry import register
from memollm.tasks.base import Curves, Task


@register("task", "measure")
@dataclass
class Measure(Task):
    """What a run does unless it is told otherwise; ``runner`` sees to it, sample by sample."""

    measures: ClassVar[bool] = True

    def prepare(self, config: Any) -> None:
        """Nothing: ``runner.prepare`` does."""

    def perform(self, config: Any, folder: Path, curves: Curves) -> Mapping[str, Result]:
        raise ValueError("task=measure is run by memollm.runner, which knows samples and records")
