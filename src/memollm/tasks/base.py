"""A task: what a run does. Most measure; others make something that is measured later.

A task that does not measure leaves a record like any other run, but knows nothing of records: it
gives its numbers, and raises what goes wrong.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from memollm.record import Result


@runtime_checkable
class Curves(Protocol):
    """Takes numbers by step: a tracker that can do no harm (``mirror.Mirror``)."""

    def log(self, metrics: Mapping[str, float], *, step: int) -> None: ...


@dataclass
class Task(abc.ABC):
    """What becomes of one cell."""

    measures: ClassVar[bool] = False  # True: its evaluations are run, and nothing else
    under_mode: ClassVar[bool] = False  # whether the cell's mode decides its outcome

    @abc.abstractmethod
    def prepare(self, config: Any) -> None:
        """Refuse what cannot be done, before any model is loaded.

        Args:
            config: the cell (``config.RunConfig``, whose room imports this one).

        Raises:
            ValueError, OSError: naming the key, the value and what is allowed.
        """

    @abc.abstractmethod
    def perform(self, config: Any, folder: Path, curves: Curves) -> Mapping[str, Result]:
        """Do it, and give what came of it, by name.

        Args:
            config: the cell.
            folder: of this run; what should be found again by a later run lies elsewhere.
            curves: shows numbers while the work goes on.
        """
