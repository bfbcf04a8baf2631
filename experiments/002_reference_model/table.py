"""A model's quality, from the records and probes that ``quality.sh`` leaves.

    python experiments/002_reference_model/table.py outputs/reference_quality table.md

Leaves the table named: a row a task, a column a length; right answers in percent, their standard
error (clustered by prompt), how many answers, and the project's target in brackets.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from memollm.record import RunRecord
from memollm.reference.wordings import KEPT_OUT, UNHEARD
from memollm.report.cells import read

LENGTHS = (512, 1024, 2048, 4096, 8192)
TARGETS: Mapping[str, Mapping[int, float]] = {
    "passkey": {1024: 99.5, 2048: 99, 4096: 99, 8192: 95},
    "5 keys, each asked for in turn": {1024: 98, 2048: 98, 4096: 95, 8192: 85},
    "4 keys in RULER's wording, one asked for": {1024: 97, 2048: 95, 4096: 90},
    "16 keys, each asked for in turn": {},
    "probe: 16 keys in RULER's wording, one asked for": {1024: 95, 2048: 95, 4096: 90},
    "probe: 8 pairs as JSON": {1024: 95, 2048: 95, 4096: 90},
    "probe: 4 random strings as keys, RULER's wording": {1024: 95, 2048: 92, 4096: 88},
    "probe: wordings kept out, mean": {1024: 90, 2048: 88, 4096: 85},
    "probe: variable tracking, 2 hops": {1024: 70},
}
PROBES = {
    "ruler 16": "probe: 16 keys in RULER's wording, one asked for",
    "json 8": "probe: 8 pairs as JSON",
    "random keys 4": "probe: 4 random strings as keys, RULER's wording",
    "variable tracking 2": "probe: variable tracking, 2 hops",
}


@dataclass
class Cell:
    """Right answers: percent, standard error, and how many were asked for."""

    value: float
    stderr: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.1f} ± {self.stderr:.1f} (n {self.n})"


@dataclass
class Rows:
    """Cells by task and length."""

    found: dict[str, dict[int, Cell]] = field(default_factory=dict)

    def put(self, row: str, length: int, value: float, stderr: float, n: int) -> None:
        self.found.setdefault(row, {})[length] = Cell(100 * value, 100 * stderr, n)


def evaluated(record: RunRecord) -> Iterator[tuple[str, int, Any]]:
    """Row, length and metric of each evaluation of a cell."""
    settings = {it["name_"]: it for it in record.config["evaluation"].values()}
    for name, result in record.results.items():
        it, found = settings[name], result.metrics
        length = it["lengths"][0]
        if name == "needle":
            if "accuracy_passkey" in found:
                yield "passkey", length, found["accuracy_passkey"]
            yield (
                f"{len(it['depths'])} keys, each asked for in turn", length,
                found["accuracy_multi_query"],
            )  # fmt: skip
        elif name == "key_value":
            yield "lost-in-the-middle's key-value prompt, UUIDs", length, found["accuracy"]
        elif it["tasks"] == ["niah_multikey_1"]:
            yield "4 keys in RULER's wording, one asked for", length, found["accuracy"]
        else:
            yield f"RULER's vt prompt, {it['hops']} hops", length, found["accuracy"]


def probed(rows: Rows, lines: list[dict[str, Any]]) -> None:
    """Exact match of ``reference.measure``; wordings kept out one by one, and their means."""
    for length in LENGTHS:
        kept = {}
        for it in lines:
            if it.get("length") != length or "probe" not in it:
                continue
            share, n = it["accuracy"], it["n"]
            error = (share * (1 - share) / n) ** 0.5
            name = it["probe"].removeprefix("kept out: ")
            if it["probe"] in PROBES:
                rows.put(PROBES[it["probe"]], length, share, error, n)
            else:
                kept[name] = share, error, n
        for heading, names in (
            ("probe: wordings kept out, mean", tuple(KEPT_OUT)),
            ("probe: those of unheard words, mean", UNHEARD),
        ):
            if set(names) <= kept.keys():
                shares, errors, counts = zip(*(kept[name] for name in names), strict=True)
                error = sum(it**2 for it in errors) ** 0.5 / len(names)
                rows.put(heading, length, sum(shares) / len(names), error, sum(counts))
        for name, (share, error, n) in kept.items():
            rows.put(f"kept out: {name}" + (" (unheard)" if name in UNHEARD else ""),
                     length, share, error, n)  # fmt: skip


def text(lines: list[dict[str, Any]]) -> list[str]:
    """Perplexity, and layers cut."""
    said = []
    for it in lines:
        if "text" in it:
            bits = f", {it['bits_per_byte']:.3f} bits per byte" if "bits_per_byte" in it else ""
            where = f"windows of {it['text']}" if isinstance(it["text"], int) else it["text"]
            said.append(f"* Perplexity, {where} (n {it['n']}): {it['perplexity']:.2f}{bits}")
        elif "trigram" in it:
            said.append(
                f"* Kneser-Ney trigram, {it['trigram']} (n {it['n']}): perplexity "
                f"{it['perplexity']:.2f}"
            )
        elif "reach" in it:
            error = "" if it["stderr"] is None else f" ± {it['stderr']:.3f}"
            said.append(
                f"* The last 256 tokens of windows of {it['reach']} (n {it['n']}): perplexity "
                f"{it['far']:.2f} with all before them, {it['near']:.2f} with 256 tokens: ratio "
                f"{it['ratio']:.3f}{error}"
            )
        elif "cut" in it:
            cut = ", ".join(map(str, it["cut"])) or "none"
            said.append(
                f"* Layers that see the last 64 tokens only: {cut}. 4 keys at {it['length']}: "
                f"{100 * it['accuracy']:.1f} %, perplexity {it['perplexity']:.2f}"
            )
    return said


def main(folder: Path, table: Path) -> None:
    rows = Rows()
    for cell in read([folder]).cells:
        for row, length, metric in evaluated(cell.record):
            rows.put(row, length, metric.value, metric.stderr, metric.n)
    lines = [json.loads(it) for it in (folder / "probes.jsonl").read_text().splitlines()]
    probed(rows, lines)
    order = [*TARGETS, *(row for row in rows.found if row not in TARGETS)]
    made = [f"| task | {' | '.join(map(str, LENGTHS))} |", "| --- |" + " --- |" * len(LENGTHS)]
    for row in order:
        cells = []
        for length in LENGTHS:
            target = TARGETS.get(row, {}).get(length)
            found = rows.found.get(row, {}).get(length)
            told = "-" if found is None else str(found)
            cells.append(told if target is None else f"{told} [{target:g}]")
        made.append(f"| {row} | {' | '.join(cells)} |")
    written = "\n".join([*made, "", *text(lines), ""])
    table.write_text(written, encoding="utf-8")
    print(written)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
