"""A sweep in a process of its own, with scripted parts and real files: to be killed.

Every sample that is measured is noted in ``measured.txt``, so that what is done twice is seen.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from memollm import devices, job
from memollm.config import register_schemas
from memollm.evaluation.base import Sample, Subject
from memollm.hf.models import ModelSource
from memollm.registry import groups, name_of
from tests.scripted import Counting, Dummy, DummyModels

SAMPLES = 4
NOTES = Path("measured.txt")


class Sweepable(Dummy):
    """A subject that knows what sets its cell apart."""

    def __init__(self, memory: Any, mode: Any) -> None:
        super().__init__(mode)
        self.setting = (memory.threshold, memory.strength) if mode.has_memory else None
        self.label = f"{name_of(mode)} {self.setting}"


class SweepableModels(DummyModels):
    def subject(self, source: Any, memory: Any, mode: Any) -> Any:
        return Sweepable(memory, mode)


def script(delay: float, put: Callable[[Any, str, Any], object] = setattr) -> None:
    """Have needles be counted, slowly, and differently for each setting.

    Args:
        delay: seconds before each sample.
        put: sets an attribute.
    """
    register_schemas()
    needle = groups()["evaluation"]["needle"]

    def samples(self: Any, subject: Subject, done: Collection[str] = ()) -> Iterator[Sample]:
        assert isinstance(subject, Sweepable)
        for index in range(SAMPLES):
            if str(index) not in done:
                time.sleep(delay)
                with NOTES.open("a") as notes:
                    notes.write(f"{subject.label} {index}\n")
                yield {"id": str(index), "value": float(index + sum(subject.setting or ()))}

    for name in ("size", "samples", "metrics", "prepare", "check"):
        put(needle, name, {"samples": samples}.get(name) or getattr(Counting, name))
    put(needle, "count", SAMPLES)
    put(ModelSource, "prepare", lambda self: None)
    put(job, "models", SweepableModels())
    put(devices, "FOLDER", Path.cwd() / "devices")


if __name__ == "__main__":
    import run

    script(float(sys.argv[1]))
    sys.argv = ["run.py", *sys.argv[2:]]
    sys.exit(run.main(sys.argv[1:]))
