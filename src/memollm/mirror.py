"""A tracker that cannot do harm: what it raises is noted, and the run goes on.

The local record is written first and is complete without any tracker. So an expired login or a
full quota costs the mirror, never the measurement.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from memollm import record, samples
from memollm.record import Result, RunRecord, Status
from memollm.tracking.base import LiveTracker
from memollm.tracking.none import Silent


class Mirror:
    """Passes a run on to a live tracker until that fails; then keeps the reason in ``error``."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self.error: str | None = None
        self._warn = warn
        self._live: LiveTracker = Silent()

    def start(self, start: Callable[[], LiveTracker]) -> None:
        """Begin to pass on, to the live tracker that ``start`` gives."""

        def begin() -> None:
            self._live = start()

        self._guard(begin)

    def sample(self, evaluation: str, sample: Mapping[str, Any], step: int) -> None:
        """Log the numbers of the ``step``-th sample, so that a run can be watched."""
        numeric = {
            f"{evaluation}/{key}": float(value)
            for key, value in sample.items()
            if isinstance(value, numbers.Real) and not isinstance(value, bool)
        }
        if numeric:
            self._guard(lambda: self._live.log(numeric, step))

    def log(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Log one point of each curve."""
        self._guard(lambda: self._live.log(metrics, step))

    def result(self, evaluation: str, result: Result, rows: Sequence[Mapping[str, Any]]) -> None:
        """Log an evaluation's metrics and its samples as a table."""
        metrics = {f"{evaluation}/{name}": it.value for name, it in result.metrics.items()}
        self._guard(lambda: self._live.log(metrics))
        self._guard(lambda: self._live.log_table(f"{evaluation}/samples", rows))

    def show(self, files: Sequence[Path]) -> None:
        """Hand over pictures and pages."""
        for file in files:
            log = self._live.log_html if file.suffix == ".html" else self._live.log_image
            self._guard(lambda log=log, file=file: log(f"report/{file.stem}", str(file)))

    def close(self, run: RunRecord, folder: Path) -> None:
        """Say how the run ended, and hand over its files."""
        files = [str(folder / name) for name in (record.FILE, samples.FILE)]
        exit_code = 0 if run.status == Status.finished else 1
        self._guard(lambda: self._live.summary(summary(run)))
        self._guard(lambda: self._live.log_artifact("record", "run", files))
        self._guard(lambda: self._live.finish(exit_code))

    def _guard(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # whatever a tracker raises, the run is worth more
            self.error = f"{type(error).__name__}: {error}"
            self._live = Silent()
            self._warn(f"The tracker failed, the local record goes on without it: {self.error}")


def summary(run: RunRecord) -> dict[str, Any]:
    """A record's numbers, flat: ``perplexity/perplexity`` and ``perplexity/perplexity_stderr``."""
    flat: dict[str, Any] = {"status": str(run.status), "seconds": run.seconds}
    for evaluation, result in run.results.items():
        for name, metric in result.metrics.items():
            flat[f"{evaluation}/{name}"] = metric.value
            if metric.stderr is not None:
                flat[f"{evaluation}/{name}_stderr"] = metric.stderr
    if run.memory is not None:
        kept = run.memory.kept_tokens
        flat["memory/kept_tokens"] = sum(kept) / max(len(kept), 1)
        flat["memory/seen_tokens"] = run.memory.seen_tokens
        flat["memory/kv_bytes"] = run.memory.kv_bytes
        flat["memory/kv_bytes_baseline"] = run.memory.kv_bytes_baseline
    if run.error is not None:
        flat["error"] = f"{run.error.type}: {run.error.message}"
    return flat
