"""The table in files: ``table.md`` to paste, ``table.csv`` with every metric to compute with."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from memollm import record
from memollm.report.table import Row, Table
from memollm.report.wording import MISSING, entry, kept, kv_bytes

MEMORY = ("kept tokens", "KV bytes")


def write(table: Table, folder: Path) -> list[Path]:
    """Leave both files in ``folder``."""
    files = [folder / "table.md", folder / "table.csv"]
    record.replace(files[0], markdown(table))
    record.replace(files[1], comma_separated(table))
    return files


def markdown(table: Table) -> str:
    """What the terminal shows, as a Markdown document."""
    headings = [*table.settings, *(column.heading for column in table.columns), *MEMORY]
    lines = [_line(headings), _line(["---"] * len(headings))]
    lines += [_line(texts(table, row)) for row in table.rows]
    if table.shared:
        told = ", ".join(f"{key} {text}" for key, text in table.shared.items())
        lines = [f"All: {told}.", "", *lines]
    notes = [f"- {note}" for note in unfinished(table)]
    return "\n".join([*lines, *(["", *notes] if notes else [])]) + "\n"


def texts(table: Table, row: Row) -> list[str]:
    """A row's words, column by column."""
    memory = row.cell.record.memory
    return [
        *(row.settings.get(key, MISSING) for key in table.settings),
        *(entry(row.entries.get(column)) for column in table.columns),
        kept(memory),
        kv_bytes(memory),
    ]


def unfinished(table: Table) -> list[str]:
    """One line for each cell that has not finished, and one for files that could not be read."""
    lines = []
    for row in table.unfinished:
        run = row.cell.record
        which = " ".join(
            f"{key}={row.settings[key]}" for key in table.settings if key in row.settings
        )
        why = f"{run.error.type}: {run.error.message}" if run.error else "still running, or killed"
        lines.append(f"{run.status}: {which}: {why} ({row.cell.folder})")
    if table.unreadable:
        lines.append(f"{table.unreadable} record.json could not be read")
    return lines


def comma_separated(table: Table) -> str:
    """One line per cell: all its settings, all its metrics, what its memory kept."""
    rows = [_plain(row) for row in table.rows]
    keys = {key: None for row in rows for key in row}  # a set with an order
    text = io.StringIO()
    writer = csv.DictWriter(text, list(keys), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _plain(row: Row) -> dict[str, Any]:
    run = row.cell.record
    plain: dict[str, Any] = {**row.settings, "status": str(run.status)}
    for evaluation, result in run.results.items():
        for name, metric in result.metrics.items():
            plain[f"{evaluation}/{name}"] = metric.value
            plain[f"{evaluation}/{name}/stderr"] = metric.stderr
            plain[f"{evaluation}/{name}/n"] = metric.n
    if run.memory is not None:
        plain["memory/kept_tokens"] = sum(run.memory.kept_tokens) / len(run.memory.kept_tokens)
        plain["memory/seen_tokens"] = run.memory.seen_tokens
        plain["memory/kv_bytes"] = run.memory.kv_bytes
        plain["memory/kv_bytes_baseline"] = run.memory.kv_bytes_baseline
    return {**plain, "folder": str(row.cell.folder), "config_hash": run.config_hash}


def _line(texts: list[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"
