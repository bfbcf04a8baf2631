"""``show``: everything of one run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from memollm import record
from memollm.report.inert import visible
from memollm.report.settings import settings
from memollm.report.wording import kept, kv_bytes, number, size
from memollm.runs.found import History, Run
from memollm.runs.listing import STYLES, text, when
from memollm.runs.removal import relying


def show(run: Run, known: History, console: Console) -> None:
    """Print all that is known of ``run``."""
    it = run.record
    console.print(Text.assemble(text(run.id), "  ", (it.status, STYLES[it.status])))
    facts = {
        "folder": str(run.folder),
        "hash": it.config_hash,
        "started": when(run.started),
        "seconds": f"{it.seconds:.1f}",
        **dict(_origins(run, known)),
    }
    _print(console, "", facts)
    _print(console, "Settings", settings(it.config))
    for name, result in it.results.items():
        console.print(Text(f"\n{visible(name)} ({result.seconds:.1f} s)", style="bold"))
        grid = _grid("metric", "value", "standard error", "unit", "n")
        for metric, one in result.metrics.items():
            doubt = "" if one.stderr is None else number(one.stderr, one.stderr)
            value = number(one.value, one.stderr or 0.0)
            grid.add_row(text(metric), value, doubt, text(one.unit), str(one.n))
        console.print(grid)
    if it.memory is not None:
        layers = ", ".join(f"{tokens:.0f}" for tokens in it.memory.kept_tokens)
        held = {"kept tokens": kept(it.memory), "by layer": layers, "KV": kv_bytes(it.memory)}
        _print(console, "Memory", held)
    _print(console, "Provenance", dict(flat(it.provenance)))
    if it.error is not None:
        console.print(
            Text(f"\n{it.error.type}: {visible(it.error.message)}", style="red"), soft_wrap=True
        )
        trace = "\n".join(visible(line) for line in it.error.traceback.splitlines())
        console.print(Text(trace), soft_wrap=True)
    _print(console, "Files", {name: size(float(count)) for name, count in _files(run)})


def plain(run: Run) -> dict[str, Any]:
    """The record, its id and its files as plain data."""
    return {
        "run": run.id,
        "folder": str(run.folder),
        "record": record.finite(dataclasses.asdict(run.record)),
        "files": dict(_files(run)),
    }


def flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested data as dotted keys and words."""
    for key, item in value.items():
        if isinstance(item, Mapping):
            yield from flat(item, f"{prefix}{key}.")
        elif item is not None:
            yield f"{prefix}{key}", str(item)


def _origins(run: Run, known: History) -> Iterator[tuple[str, str]]:
    if run.record.resumed_from:
        yield "goes on with", run.record.resumed_from
    for name, folder in run.record.reused_from.items():
        yield f"{name} is from", folder
    if dependents := relying(run, known):
        yield "taken over by", ", ".join(it.id for it in dependents)
    if run.record.tracker_error:
        yield "tracker", run.record.tracker_error


def _files(run: Run) -> Iterator[tuple[str, int]]:
    for path in sorted(run.folder.rglob("*")):
        inside = path.relative_to(run.folder)
        if path.is_file() and "wandb" not in inside.parts[:1]:
            yield inside.as_posix(), path.stat().st_size


def _print(console: Console, title: str, facts: Mapping[str, str]) -> None:
    if not facts:
        return
    if title:
        console.print(Text(f"\n{title}", style="bold"))
    grid = _grid()
    for key, value in facts.items():
        grid.add_row(text(key), text(value))
    console.print(grid)


def _grid(*headings: str) -> Table:
    grid = Table(*headings, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    grid.show_header = bool(headings)
    grid.header_style = "dim"
    return grid
