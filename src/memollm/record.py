"""What a run leaves behind: ``record.json``, complete and valid at every moment.

A record is plain data, so that whoever reads it needs neither torch nor the parts that made it.
It is rewritten as a whole after each step, never in place: a run that is killed leaves the last
complete record, status ``running``.

JSON has no word for nan and infinity; they are written as the strings "NaN", "Infinity" and
"-Infinity".
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

FILE = "record.json"
NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class Status(StrEnum):
    running = "running"  # or killed: nobody was there to write anything else
    finished = "finished"
    failed = "failed"


@dataclass(frozen=True)
class Measured:
    """A metric as it was recorded (``evaluation.base.Metric``, which would need torch)."""

    value: float
    unit: str
    higher_is_better: bool | None  # None: neither, a description
    n: int
    stderr: float | None = None


@dataclass(frozen=True)
class Result:
    """What one evaluation found."""

    seconds: float
    metrics: Mapping[str, Measured]


@dataclass(frozen=True)
class Failure:
    """Why a run did not finish."""

    type: str
    message: str
    traceback: str


@dataclass(frozen=True)
class Memory:
    """What the cache held after the longest samples: the mean over them."""

    kept_tokens: list[float]  # per layer of the model
    seen_tokens: int
    kv_bytes: float
    kv_bytes_baseline: float  # what the untouched model would hold
    kept_share: float | None = None  # of the tokens seen, mean over memory layers: the budget met
    thresholds: list[float] | None = None  # per memory layer, given or solved for; None: no number


@dataclass(frozen=True)
class RunRecord:
    """One cell: what was asked, what was found, and where it comes from."""

    status: Status
    config: Mapping[str, Any]  # resolved; "memory" is None in a mode without one
    config_hash: str  # equal for cells whose results would be equal
    provenance: Mapping[str, Any]
    error: Failure | None = None
    seconds: float = 0.0  # of this run; what was taken over cost nothing
    results: Mapping[str, Result] = field(default_factory=dict)
    memory: Memory | None = None
    evaluation_hashes: Mapping[str, str] = field(default_factory=dict)  # config_hash in its parts
    baseline_hashes: Mapping[str, str] = field(default_factory=dict)  # ... of the untouched model
    resumed_from: str | None = None  # the unfinished run that this one goes on with
    reused_from: Mapping[str, str] = field(default_factory=dict)  # evaluation: run that measured it
    detectable: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # by evaluation
    tracker_error: str | None = None  # what the tracker, a mirror, could not take


class UnreadableRecord(ValueError):
    """A file that is no record: broken, cut off or somebody else's."""


def save(record: RunRecord, folder: Path) -> None:
    """Write ``folder/record.json``, all of it or nothing."""
    text = json.dumps(finite(asdict(record)), indent=2, allow_nan=False)
    replace(folder / FILE, text + "\n")


def load(folder: Path) -> RunRecord:
    """Read ``folder/record.json``.

    Raises:
        UnreadableRecord: if it is none.
    """
    path = folder / FILE
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnreadableRecord(f"{path} is not a run record: {error}") from error


def parse(text: str) -> RunRecord:
    """The record that ``text`` holds; whatever is missing or odd raises something."""
    data = json.loads(text)
    results = {
        name: Result(
            float(result["seconds"]),
            {metric: _measured(entry) for metric, entry in result["metrics"].items()},
        )
        for name, result in data["results"].items()
    }
    return RunRecord(
        status=Status(data["status"]),
        config=dict(data["config"]),
        config_hash=str(data["config_hash"]),
        provenance=dict(data["provenance"]),
        error=Failure(**data["error"]) if data["error"] else None,
        seconds=float(data["seconds"]),
        results=results,
        memory=_memory(data["memory"]) if data["memory"] else None,
        evaluation_hashes=dict(data.get("evaluation_hashes") or {}),
        baseline_hashes=dict(data.get("baseline_hashes") or {}),
        resumed_from=data.get("resumed_from"),
        reused_from=dict(data.get("reused_from") or {}),
        detectable=dict(data.get("detectable") or {}),
        tracker_error=data.get("tracker_error"),
    )


def folders_below(root: Path) -> Iterator[Path]:
    """Folders with a record, ``root`` included; what lies inside a run is not searched."""
    for folder, inner, files in os.walk(root):
        if FILE in files:
            inner.clear()
            yield Path(folder)
        inner[:] = sorted(name for name in inner if not name.startswith("."))


def newest_first(records: Iterable[tuple[Path, RunRecord]]) -> list[tuple[Path, RunRecord]]:
    """The records by the time they started, the latest first."""
    return sorted(records, key=lambda it: str(it[1].provenance.get("started")), reverse=True)


def replace(path: Path, content: str | bytes) -> None:
    """Make ``content`` that of ``path`` at one stroke: readers see the old file or the new."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("wb") as file:
            file.write(content.encode("utf-8") if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def finite(value: Any) -> Any:
    """``value`` with nan and infinities as strings, so that it is valid JSON.

    >>> finite({"loss": math.nan, "losses": [1.0, -math.inf]})
    {'loss': 'NaN', 'losses': [1.0, '-Infinity']}
    """
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value


def _measured(entry: Mapping[str, Any]) -> Measured:
    stderr = entry.get("stderr")
    return Measured(
        value=float(entry["value"]),  # float() reads "NaN" and "-Infinity", too
        unit=str(entry["unit"]),
        higher_is_better=entry["higher_is_better"],
        n=int(entry["n"]),
        stderr=None if stderr is None else float(stderr),
    )


def _memory(entry: Mapping[str, Any]) -> Memory:
    return Memory(
        kept_tokens=[float(kept) for kept in entry["kept_tokens"]],
        seen_tokens=int(entry["seen_tokens"]),
        kv_bytes=float(entry["kv_bytes"]),
        kv_bytes_baseline=float(entry["kv_bytes_baseline"]),
        kept_share=None if entry.get("kept_share") is None else float(entry["kept_share"]),
        thresholds=entry.get("thresholds"),
    )
