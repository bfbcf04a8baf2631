"""A run without a language model: scripted parts, quick and exact.

They are not registered, since the registry's parts are what the contract tests run over.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from memollm.config import RunConfig
from memollm.evaluation.base import Evaluation, Metric, Sample, Subject
from memollm.hf.models import Loaded, ModelSource
from memollm.loading import Models
from memollm.memory.ebbinghaus import Memory
from memollm.memory.retention import ExponentialRetention
from memollm.modes.base import Mode
from memollm.modes.sparse_attention import SparseAttention
from memollm.runner import run
from memollm.tasks.measure import Measure
from memollm.tracking.base import LiveTracker, Tracker
from memollm.tracking.none import NoTracker, Silent


class Silence:
    """A tokenizer that has nothing to say."""

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        return []

    def decode(self, ids: list[int], *, skip_special_tokens: bool = False) -> str:
        return ""


class NoTokens:
    """The tokenizer of a subject that nobody reads with."""

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        return []

    def decode(self, ids: list[int], *, skip_special_tokens: bool = True) -> str:
        return ""


class Dummy:
    """A subject that evaluations of this file do not look at."""

    name = "dummy"
    max_length = 100
    prefill_chunk = 16
    weight_bytes = 1
    device = torch.device("cpu")
    tokenizer = NoTokens()

    def session(self, earlier: Any = None) -> Any: ...

    def untouched(self) -> Any: ...

    tokenizer: Any = Silence()
    weight_bytes: Any = 0

    def __init__(self, mode: Mode) -> None:
        self.has_memory = mode.has_memory


@dataclass
class DummyModel(ModelSource):
    flavour: str = "plain"

    def load(self) -> Loaded:
        raise NotImplementedError


class DummyModels(Models):
    """Counts how often a subject was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def subject(self, source: Any, memory: Memory, mode: Mode) -> Any:
        self.asked += 1
        return Dummy(mode)


@dataclass
class Counting(Evaluation):
    """Yields ``count`` samples worth 0, 1, 2, ..."""

    count: int = 4
    delay: float = 0.0  # seconds before each sample
    fail_at: int | None = None  # sample that raises
    with_memory: bool = True
    measured: list[str] = field(default_factory=list)  # ids, in the order of measuring

    def size(self, subject: Subject) -> int:
        return self.count

    def samples(self, subject: Subject, done: Collection[str] = ()) -> Iterator[Sample]:
        for index in range(self.count):
            if str(index) in done:
                continue
            time.sleep(self.delay)
            if index == self.fail_at:
                raise ArithmeticError(f"sample {index} cannot be")
            self.measured.append(str(index))
            sample: Sample = {"id": str(index), "value": float(index), "loss": math.nan}
            if self.with_memory:
                sample["memory"] = {
                    "kept_tokens": [10.0 + index, 20.0],
                    "seen_tokens": 100,
                    "kv_bytes": 300,
                    "kv_bytes_baseline": 1000,
                }
            yield sample

    def metrics(self, samples: Sequence[Sample]) -> dict[str, Metric]:
        return {
            "mean": Metric.mean([sample["value"] for sample in samples], "points", True),
            "worst": Metric(math.inf, "nats", False, len(samples)),
        }


@dataclass
class Recording(Tracker):
    """Notes the calls, and can be told to fail at one of them."""

    fail_at: str = ""
    calls: list[tuple[str, Any]] = field(default_factory=list)

    def start(self, **asked: Any) -> LiveTracker:
        live = RecordingLive(self.calls, self.fail_at)
        live.note("start", asked)
        return live

    def share(self, comparison: Any, folder: str) -> None:
        self.calls.append(("share", (comparison, folder)))


class RecordingLive(Silent):
    def __init__(self, calls: list[tuple[str, Any]], fail_at: str) -> None:
        self._calls, self._fail_at = calls, fail_at

    def note(self, name: str, what: Any) -> None:
        if name == self._fail_at:
            raise ConnectionError("the server has gone")
        self._calls.append((name, what))

    def log(self, metrics: Any, step: int | None = None) -> None:
        self.note("log", (dict(metrics), step))

    def log_table(self, name: str, rows: Any) -> None:
        self.note("log_table", (name, list(rows)))

    def log_image(self, name: str, path: str) -> None:
        self.note("log_image", (name, path))

    def log_html(self, name: str, path: str) -> None:
        self.note("log_html", (name, path))

    def log_artifact(self, name: str, type: str, paths: Any) -> None:
        self.note("log_artifact", (name, type, list(paths)))

    def summary(self, values: Any) -> None:
        self.note("summary", dict(values))

    def finish(self, exit_code: int) -> None:
        self.note("finish", exit_code)


def cell(evaluation: dict[str, Any] | None = None, mode: Mode | None = None, **changes: Any) -> Any:
    """A configuration of scripted parts."""
    memory = changes.pop("memory", Memory())
    return RunConfig(
        task=changes.pop("task", Measure()),
        model=changes.pop("model", DummyModel()),
        mode=mode or SparseAttention(),
        retention=ExponentialRetention(),
        memory=memory,
        evaluation=evaluation or {"counting": Counting()},
        tracker=NoTracker(),
        **changes,
    )


def start_nothing(described: dict[str, Any]) -> LiveTracker:
    return Silent()


if __name__ == "__main__":  # a slow run, to be killed
    slow = {"quick": Counting(2), "slow": Counting(6, delay=0.4)}
    root = Path(sys.argv[1])
    run(cell(slow), root / "killed", start_nothing, DummyModels(), [root])
