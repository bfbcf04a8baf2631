"""``ls``: runs in a table, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from memollm.record import RunRecord, Status
from memollm.report.inert import clipped, visible
from memollm.report.settings import differing, settings
from memollm.report.table import HEADLINES, Entry
from memollm.report.wording import MISSING, lines
from memollm.runs.found import Run

STYLES = {Status.finished: "green", Status.failed: "red", Status.running: "yellow"}
ALWAYS = ("model", "mode")  # settings that are told whatever they are
COLUMNS = 6  # of settings beside those; the rest is what `show` and `diff` are for
NO_CHOICE = ("tracker", "evaluation")  # settings that tell little of a cell


def table(runs: Sequence[Run]) -> Table:
    """One line for each run: status, when, settings that differ, key metrics."""
    flat = [settings(run.record.config) for run in runs]
    keys = _columns(flat)
    grid = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for heading in ("run", "hash", "status", "when", *keys, "results"):
        grid.add_column(heading, overflow="fold", no_wrap=heading in ("run", "hash", "status"))
    for run, told in zip(runs, flat, strict=True):
        grid.add_row(
            text(run.id),
            text(run.record.config_hash[:8]),
            Text(run.record.status, style=STYLES[run.record.status]),
            Text(when(run.started)),
            *(text(told.get(key, MISSING)) for key in keys),
            Text("\n").join(text(it) for it in outcome(run.record)),
        )
    return grid


def plain(run: Run) -> dict[str, Any]:
    """A run as plain data."""
    it = run.record
    return {
        "run": run.id,
        "folder": str(run.folder),
        "config_hash": it.config_hash,
        "status": str(it.status),
        "started": run.started,
        "seconds": it.seconds,
        "settings": settings(it.config),
        "results": {
            name: {metric: one.value for metric, one in result.metrics.items()}
            for name, result in it.results.items()
        },
        "error": f"{it.error.type}: {it.error.message}" if it.error else None,
    }


def outcome(run: RunRecord) -> list[str]:
    """Its headline metrics, or why there are none."""
    told = []
    for evaluation, result in run.results.items():
        headlines = [name for name in result.metrics if name in HEADLINES]
        for name in headlines or list(result.metrics)[:1]:
            words = HEADLINES.get(name, f"{evaluation} {name}").format(evaluation=evaluation)
            told.append(f"{words} {lines(Entry([result.metrics[name]]))[0]}")
    if run.error is not None:
        told.append(f"{run.error.type}: {run.error.message}")
    return told or [MISSING]


def when(started: str) -> str:
    """A start, in this machine's time, to the minute."""
    try:
        return datetime.fromisoformat(started).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return MISSING


def text(words: str) -> Text:
    """Words of others, made harmless for a terminal."""
    return Text(clipped(visible(words)))


def _columns(flat: Sequence[dict[str, str]]) -> list[str]:
    apart = [
        key
        for key in differing(flat)
        if key.partition(".")[0] not in NO_CHOICE and key not in ALWAYS
    ]
    top_first = sorted(apart, key=lambda key: "." in key)
    return [*ALWAYS, *top_first[:COLUMNS]]
