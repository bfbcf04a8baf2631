"""A run's record while it is being made: every step is on disk before the next one begins."""

from __future__ import annotations

import dataclasses
import time
import traceback
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from memollm import record, samples
from memollm.record import Failure, Memory, Result, RunRecord, Status


class Journal:
    """The one writer of ``record.json`` and ``samples.jsonl`` in ``folder``."""

    def __init__(
        self, folder: Path, begun: RunRecord, taken_over: Mapping[str, Sequence[dict[str, Any]]]
    ) -> None:
        self.folder = folder
        self.record = begun
        self.samples: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.samples.update({name: list(some) for name, some in taken_over.items()})
        self._since = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)
        samples.rewrite(folder, self.samples)
        self.update(memory=memory_use(self.samples))

    def sample(self, evaluation: str, sample: dict[str, Any]) -> None:
        samples.append(self.folder, evaluation, sample)
        self.samples[evaluation].append(sample)

    def result(self, evaluation: str, result: Result) -> None:
        results = {**self.record.results, evaluation: result}
        self.update(results=results, memory=memory_use(self.samples))

    def finish(self) -> None:
        self.update(status=Status.finished)

    def fail(self, error: BaseException) -> None:
        trace = "".join(traceback.format_exception(error))
        self.update(status=Status.failed, error=Failure(type(error).__name__, str(error), trace))

    def update(self, **changes: Any) -> None:
        seconds = time.monotonic() - self._since
        self.record = dataclasses.replace(self.record, seconds=seconds, **changes)
        record.save(self.record, self.folder)


def memory_use(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> Memory | None:
    """What the cache held, where it had most to hold: the mean over the longest samples."""
    uses = [it["memory"] for some in samples.values() for it in some if it.get("memory")]
    if not uses:
        return None
    longest = max(use["seen_tokens"] for use in uses)
    uses = [use for use in uses if use["seen_tokens"] == longest]
    shares = [share for use in uses if (share := use.get("kept_share")) is not None]
    layers = zip(*(use["kept_tokens"] for use in uses), strict=True)
    return Memory(
        kept_tokens=[sum(layer) / len(uses) for layer in layers],
        seen_tokens=longest,
        kv_bytes=sum(use["kv_bytes"] for use in uses) / len(uses),
        kv_bytes_baseline=sum(use["kv_bytes_baseline"] for use in uses) / len(uses),
        kept_share=sum(shares) / len(shares) if shares else None,
        thresholds=uses[0].get("thresholds"),
    )
