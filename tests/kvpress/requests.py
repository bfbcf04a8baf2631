"""What tests ask of the process of kvpress."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from memollm.loading import Models


@dataclass(frozen=True)
class Note:
    """Write down who is asked, and what was imported and typed there."""

    file: Path

    def perform(self, models: Models) -> None:
        import kvpress

        self.file.write_text(f"{os.getpid()}\n{kvpress.__file__}\n{sys.argv[0]}")


class Dying:
    """End the process, as the system does when memory runs out."""

    def perform(self, models: Models) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Failing:
    def perform(self, models: Models) -> None:
        raise ArithmeticError("a defect")
