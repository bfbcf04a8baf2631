"""The table in files: ``table.md`` to paste, csv, json and parquet to compute with."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from memollm import record
from memollm.record import Measured, Memory
from memollm.report import inert
from memollm.report.notes import method, remarks, unfinished
from memollm.report.table import Row, Table
from memollm.report.wording import MISSING, entry, kept, kv_bytes

MEMORY = ("kept tokens", "KV bytes")


def write(table: Table, folder: Path) -> list[Path]:
    """Leave the files in ``folder``."""
    texts = {
        "table.md": markdown(table),
        "table.csv": comma_separated(table),
        "table.json": plain_json(table),
        "table.parquet": parquet(table),
    }
    for name, text in texts.items():
        record.replace(folder / name, text)
    return [folder / name for name in texts]


def markdown(table: Table) -> str:
    """What the terminal shows, as a Markdown document."""
    headings = [*table.settings, *(column.heading for column in table.columns), *MEMORY]
    lines = [_line(headings), _line(["---"] * len(headings))]
    lines += [_line(texts(table, row)) for row in table.rows]
    if table.shared:
        told = ", ".join(
            f"{key} {inert.markdown(inert.clipped(text))}" for key, text in table.shared.items()
        )
        lines = [f"All: {told}.", "", *lines]
    if table.comparisons:
        lines += ["", method(table)]
    notes = [f"- {inert.markdown(note)}" for note in (*remarks(table), *unfinished(table))]
    return "\n".join([*lines, *(["", *notes] if notes else [])]) + "\n"


def texts(table: Table, row: Row) -> list[str]:
    """A row's words, column by column."""
    return [
        *(row.settings.get(key, MISSING) for key in table.settings),
        *(entry(row.entries.get(column)) for column in table.columns),
        *memory(row),
    ]


def memory(row: Row) -> list[str]:
    """What the cache held; of several seeds, the first one's."""
    return [kept(row.cell.record.memory), kv_bytes(row.cell.record.memory)]


def comma_separated(table: Table) -> str:
    """One line per row: all its settings, metrics and comparisons, and what its memory kept.

    Of several seeds, metrics and the memory are means, with no standard error.
    """
    rows = [_plain(row) for row in table.rows]
    keys = {key: None for row in rows for key in row}  # a set with an order
    text = io.StringIO()
    writer = csv.DictWriter(text, list(keys), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def plain_json(table: Table) -> str:
    """The lines of ``table.csv`` as objects, and how they were compared."""
    whole = {
        "shared": table.shared,
        "rows": [_plain(row) for row in table.rows],
        "method": method(table),
        "correction": str(table.correction),
        "comparisons": table.comparisons,
        "remarks": remarks(table),
        "unfinished": unfinished(table),
    }
    return json.dumps(record.finite(whole), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def parquet(table: Table) -> bytes:
    """The lines of ``table.csv``, with their types."""
    import pandas  # slow to import

    file = io.BytesIO()
    pandas.DataFrame([_plain(row) for row in table.rows]).to_parquet(file, index=False)
    return file.getvalue()


def _plain(row: Row) -> dict[str, Any]:
    runs = [cell.record for cell in row.cells]
    plain: dict[str, Any] = {**row.settings, "status": " ".join({str(it.status) for it in runs})}
    for evaluation in {name: None for it in runs for name in it.results}:
        results = [it.results[evaluation].metrics for it in runs if evaluation in it.results]
        for name in results[0]:
            values = [metrics[name] for metrics in results if name in metrics]
            plain |= {f"{evaluation}/{name}{end}": it for end, it in _pooled(values).items()}
    for column, it in row.entries.items():
        if it.paired is not None:
            begun = f"{column.evaluation}/{column.metric}"
            low, high = it.paired.interval or (None, None)
            plain |= {
                f"{begun}/difference": it.paired.value,
                f"{begun}/low": low,
                f"{begun}/high": high,
                f"{begun}/p": it.paired.p,
                f"{begun}/p_corrected": it.p,
                f"{begun}/pairs": it.paired.pairs,
                f"{begun}/prompts": it.paired.prompts,
                f"{begun}/better": it.paired.better,
                f"{begun}/worse": it.paired.worse,
                f"{begun}/test": it.paired.test,
            }
    held = [it.memory for it in runs if it.memory is not None and it.memory.kept_tokens]
    folders = " ".join(str(cell.folder) for cell in row.cells)
    return {**plain, **_memory(held), "folder": folders, "config_hash": _hashes(row)}


def _pooled(values: Sequence[Measured]) -> Mapping[str, float | None]:
    return {
        "": math.fsum(it.value for it in values) / len(values),
        "/stderr": values[0].stderr if len(values) == 1 else None,
        "/n": sum(it.n for it in values),
    }


def _memory(held: Sequence[Memory]) -> dict[str, float]:
    if not held:
        return {}
    each = [
        {
            "memory/kept_tokens": sum(it.kept_tokens) / len(it.kept_tokens),
            "memory/seen_tokens": it.seen_tokens,
            "memory/kv_bytes": it.kv_bytes,
            "memory/kv_bytes_baseline": it.kv_bytes_baseline,
        }
        for it in held
    ]
    return {key: sum(it[key] for it in each) / len(each) for key in each[0]}


def _hashes(row: Row) -> str:
    return " ".join(cell.record.config_hash for cell in row.cells)


def _line(texts: list[str]) -> str:
    return "| " + " | ".join(inert.markdown(inert.clipped(text)) for text in texts) + " |"
