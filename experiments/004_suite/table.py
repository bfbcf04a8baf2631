"""The suite's table: a row for each method and budget, from the records of its runs.

    python experiments/004_suite/table.py outputs/multirun [more folders]

Beside each value stands its difference from the untouched model on the same prompts. A second table
has the difference from a window of as many tokens, since what recency alone gives is no merit of a
method: for a press, which compresses once after dense prefill, from kvpress's own streaming_llm.
Leaves ``table.md`` and, for ``plot.py``, ``table.csv``.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memollm.report.cells import Cell, read
from memollm.report.paired import Samples
from memollm.report.wording import interval
from memollm.statistics.comparison import Difference
from memollm.statistics.corrections import Correction, corrected

COLUMNS = {  # (evaluation, metric): heading
    ("needle", "accuracy_unseen"): "needles, %",
    ("key_value", "accuracy_unseen"): "key-value, %",
    ("ruler", "accuracy_unseen"): "variable tracking, %",
    ("perplexity", "perplexity"): "perplexity, streamed",
    ("continuation", "perplexity"): "perplexity, after the context",
}
UNTOUCHED, WINDOW, PRESS_WINDOW = "untouched", "window", "press streaming_llm"
ORDER = (  # of the rows within a budget
    UNTOUCHED, "full", "soft_delete", "learned strength", WINDOW, "constant strength",
    "rehearsed (ebbinghaus)", "power law", "h2o", "snapkv", "tova", "knorm", "random",
    WINDOW + ", once at the end", PRESS_WINDOW,
)  # fmt: skip
ONCE = ", once at the end"  # of the context, as a press does it
REHEARSED = ", rehearsed"  # a strength given at birth that attention adds to
CHUNK = 256  # tokens between two applications of retention otherwise
ALPHA = 0.05


@dataclass(frozen=True)
class Row:
    """What one method made of one budget; cells by evaluation, the newest that finished it."""

    method: str
    budget: float
    cells: Mapping[str, Cell]


@dataclass(frozen=True)
class Entry:
    """A value, and its differences: from the untouched model, and from a window."""

    value: float
    share: bool
    lost: Difference | None
    gained: Difference | None

    @property
    def factor(self) -> float:
        return 100.0 if self.share else 1.0


def method(config: Mapping[str, Any]) -> str:
    """What a reader calls the cell with this configuration."""
    mode, memory = config["mode"], config.get("memory")
    if mode["name_"] == "kvpress":
        return f"press {mode['press']}"
    if memory is None:
        return UNTOUCHED
    if mode["name_"] != "sparse_attention":
        return mode["name_"]
    if memory["policy"]["name_"] != "ebbinghaus":
        at_once = ONCE if memory["prefill_chunk"] > CHUNK else ""
        return memory["policy"]["name_"] + at_once
    birth = memory.get("birth") or {}
    if birth.get("name_", "rehearsed") != "rehearsed":
        return f"{birth['name_']} strength" + (REHEARSED if birth.get("rehearsed") else "")
    if memory["reinforcement"] == 0 and memory["recall_threshold"] is None:
        return "constant strength"
    names = {"exponential": "rehearsed (ebbinghaus)", "power_law": "power law"}
    return names[memory["retention"]["name_"]]


def budget(config: Mapping[str, Any]) -> float:
    """The share of tokens that the cell keeps."""
    if config["mode"]["name_"] == "kvpress":
        return 1 - config["mode"]["compression_ratio"]
    return 1.0 if config.get("memory") is None else config.get("budget") or 1.0


def rows(cells: Sequence[Cell]) -> list[Row]:
    """All methods and budgets that answered anything with the question unseen.

    Raises:
        ValueError: two cells of one row have memories of different settings.
    """
    found: dict[tuple[str, float], dict[str, Cell]] = {}
    for cell in cells:  # the newest last
        config = cell.record.config
        key = method(config), round(budget(config), 6)
        for (evaluation, metric), _ in COLUMNS.items():
            result = cell.record.results.get(evaluation)
            if result is not None and metric in result.metrics:
                row = found.setdefault(key, {})
                _require_alike(next(iter(row.values()), cell), cell, key[0])
                row[evaluation] = cell
    made = [Row(name, share, those) for (name, share), those in found.items()]
    return sorted(made, key=lambda it: (-it.budget, _rank(it.method), it.method))


def _require_alike(first: Cell, last: Cell, name: str) -> None:
    """One row is one method: what its cells' memories are set to must not differ."""
    ours, theirs = (it.record.config.get("memory") or {} for it in (first, last))
    differ = sorted(key for key in {*ours, *theirs} if ours.get(key) != theirs.get(key))
    if differ:
        raise ValueError(
            f"{first.folder} and {last.folder} would both be the row {name!r}, but differ in "
            f"memory.{', memory.'.join(differ)}: name one of their folders alone"
        )


def _rank(name: str) -> int:
    return ORDER.index(name) if name in ORDER else len(ORDER)


def entries(made: Sequence[Row]) -> dict[tuple[int, str], Entry]:
    """Every number of the table, by row and evaluation."""
    samples, known = Samples(), {(it.method, it.budget): it for it in made}
    untouched = known[UNTOUCHED, 1.0]
    found = {}
    for index, row in enumerate(made):
        recency = PRESS_WINDOW if row.method.startswith("press ") else WINDOW
        window = known.get((recency, row.budget))
        for evaluation, metric in COLUMNS:
            cell = row.cells.get(evaluation)
            if cell is None:
                continue

            def against(
                other: Row | None, cell: Cell = cell, key: tuple[str, str] = (evaluation, metric)
            ) -> Difference | None:
                partner = other.cells.get(key[0]) if other else None
                if partner is None or partner is cell:
                    return None
                return samples.compare([(cell, partner)], *key)

            measured = cell.record.results[evaluation].metrics[metric]
            found[index, evaluation] = Entry(
                measured.value, measured.unit == "share", against(untouched), against(window)
            )
    return found


def resolved(found: Mapping[tuple[int, str], Entry]) -> dict[int, bool]:
    """Whether a difference, by its identity, is more than luck among all of the table."""
    family = [it for entry in found.values() for it in (entry.lost, entry.gained) if it is not None]
    p = corrected([it.p for it in family], Correction.holm)
    return {id(it): chance <= ALPHA for it, chance in zip(family, p, strict=True)}


def told(it: Difference | None, factor: float, clear: Mapping[int, bool]) -> str:
    """A difference with its interval; in brackets where chance explains it."""
    if it is None:
        return "-"
    text = f"{it.value * factor:+.{0 if factor == 100 else 2}f}{interval(it, factor)}"
    return text if clear[id(it)] else f"[{text}]"


def markdown(made: Sequence[Row], found: Mapping[tuple[int, str], Entry]) -> str:
    """The two tables."""
    clear = resolved(found)
    lines = [
        "Each cell: value; difference from the untouched model (95 % interval). In square "
        f"brackets: not resolved at 5 % after Holm's correction for {len(clear)} comparisons.",
        "",
        _line(["kept", "method", *COLUMNS.values(), "KV bytes"]),
        _line(["---"] * (len(COLUMNS) + 3)),
    ]
    for index, row in enumerate(made):
        texts = []
        for evaluation, _ in COLUMNS:
            it = found.get((index, evaluation))
            value = "-" if it is None else f"{it.value * it.factor:.{1 if it.share else 2}f}"
            lost = "" if it is None or it.lost is None else f"; {told(it.lost, it.factor, clear)}"
            texts.append(value + lost)
        lines.append(_line([f"{row.budget:.0%}", row.method, *texts, _bytes(row)]))
    lines += [
        "",
        "The same, less what a window of as many tokens gives (press: streaming_llm): what a "
        "method adds to recency.",
        "",
        _line(["kept", "method", *COLUMNS.values()]),
        _line(["---"] * (len(COLUMNS) + 2)),
    ]
    for index, row in enumerate(made):
        texts = [
            told(it.gained, it.factor, clear) if (it := found.get((index, name))) else "-"
            for name, _ in COLUMNS
        ]
        if set(texts) != {"-"}:
            lines.append(_line([f"{row.budget:.0%}", row.method, *texts]))
    return "\n".join([*lines, "", *_same(made), ""])


def _same(made: Sequence[Row]) -> list[str]:
    """Methods that ought to give the same answers, and whether they do, sample by sample."""
    samples, known = Samples(), {(it.method, it.budget): it for it in made}
    lines = []
    for one, other in (
        ("constant strength", WINDOW), ("power law", "rehearsed (ebbinghaus)"), ("full", UNTOUCHED),
    ):  # fmt: skip
        for share in sorted({it.budget for it in made}):
            ours, theirs = known.get((one, share)), known.get((other, share))
            if ours is None or theirs is None:
                continue
            equal = n = 0
            for name in ours.cells.keys() & theirs.cells.keys():
                partner = {it["id"]: it for it in samples.of(theirs.cells[name], name)}
                for it in samples.of(ours.cells[name], name):
                    keys = [key for key in ("answer", "correct", "score", "nll") if key in it]
                    equal += all(it[key] == partner[it["id"]][key] for key in keys)
                    n += 1
            lines.append(f"- {one} and {other}, {share:.0%} kept: {equal} of {n} samples the same.")
    return lines


def _bytes(row: Row) -> str:
    """Bytes of the cache after a needle prompt, method state included, of the untouched model's."""
    cell = row.cells.get("needle")
    held = None if cell is None else [it["memory"] for it in Samples().of(cell, "needle")]
    if not held:
        return "-"
    share = sum(it["kv_bytes"] for it in held) / sum(it["kv_bytes_baseline"] for it in held)
    return f"{share:.0%}"


def _line(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"


def comma_separated(
    path: Path, made: Sequence[Row], found: Mapping[tuple[int, str], Entry]
) -> None:
    """Every number, a line each."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["method", "budget", "evaluation", "value", "low", "high", "n", "commit"])
        for (index, evaluation), it in found.items():
            row = made[index]
            cell = row.cells[evaluation]
            lost = it.lost.value if it.lost else 0.0
            low, high = (it.lost.interval if it.lost else None) or (lost, lost)
            base = it.value - lost
            n = it.lost.pairs if it.lost else len(Samples().of(cell, evaluation))
            commit = cell.record.provenance["commit"][:7]
            writer.writerow(
                [row.method, row.budget, evaluation, it.value, base + low, base + high, n, commit]
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    try:
        made = rows(read(arguments.folders).cells)
    except ValueError as error:
        parser.error(str(error))
    found = entries(made)
    (arguments.out / "table.md").write_text(markdown(made, found), encoding="utf-8")
    comma_separated(arguments.out / "table.csv", made, found)


if __name__ == "__main__":
    main()
