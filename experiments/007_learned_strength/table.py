"""The table of learned strength beside its rivals, from the records of their runs.

    python experiments/007_learned_strength/table.py outputs/multirun [more folders]

A row for each method and budget, of the runs that share this experiment's settings (those of
experiment=suite do). Beside each value stands by how much learned strength is better at that
budget, on the same prompts, with a 95 % interval (perplexity: lower is better). Leaves ``table.md``
and ``table.png``.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from memollm import samples
from memollm.record import folders_below, load
from memollm.statistics.comparison import compare
from memollm.statistics.pairing import match, outcome_of

LEARNED, UNTOUCHED = "learned", "untouched model"
ORDER = (
    UNTOUCHED, LEARNED, "learned and rehearsed", "surprisal", "key_norm", "constant", "window",
    "rehearsed", "h2o", "snapkv", "tova", "knorm", "random",
)  # fmt: skip
SHARED = {  # settings that all rows have; what a record does not say is the default
    "layer_fraction": 1.0, "prefill_chunk": 256, "budget_length": 0, "granularity": "layer",
}  # fmt: skip
# Where a point's name may stand, in points from it, the best first.
BESIDE: tuple[tuple[tuple[int, int], Literal["left", "right"]], ...] = (
    ((5, 4), "left"), ((5, -11), "left"), ((-5, 4), "right"), ((-5, -11), "right"),
    ((5, 14), "left"), ((-5, 14), "right"), ((5, -21), "left"), ((-5, -21), "right"),
)  # fmt: skip
Sample = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """What of an evaluation's samples is told, and how."""

    heading: str
    evaluation: str
    length: int | None = None  # of the prompts; None: they have no or one length
    outcome: str = "correct"

    def value(self, found: list[Sample]) -> float:
        if self.outcome != "nll":
            return 100 * float(np.mean([float(it[self.outcome]) for it in found]))
        return float(np.exp(sum(it["nll"] for it in found) / sum(it["tokens"] for it in found)))

    def better(self, ours: list[Sample], theirs: list[Sample]) -> str:
        """By how much ``ours`` is better, with the interval."""
        pairs = match(ours, theirs)
        outcome = outcome_of(pairs.pairs)
        if outcome is None:
            return ""
        lower = self.outcome == "nll"
        found = compare([pairs], outcome, exponential=lower)
        scale, digits = (-1, 2) if lower else (100, 1)
        ends = sorted(scale * it for it in found.interval or (found.value, found.value))
        return f"{scale * found.value:+.{digits}f} ({ends[0]:+.{digits}f}..{ends[1]:+.{digits}f})"


COLUMNS = (
    Column("needles, %", "needle", 1024),
    Column("at 2048", "needle", 2048),
    Column("at 4096", "needle", 4096),
    Column("key-value, %", "key_value"),
    Column("variable tracking, %", "ruler", outcome="score"),
    Column("perplexity", "perplexity", outcome="nll"),
)


@dataclass
class Row:
    """Samples of one method at one budget, by column; those of the newest run that has most."""

    samples: dict[Column, list[Sample]] = field(default_factory=dict)

    def take(self, found: Mapping[str, Sequence[Sample]]) -> None:
        for column in COLUMNS:
            mine = [
                it
                for it in found.get(column.evaluation, [])
                if column.length in (None, it.get("length"))
            ]
            if mine and len(mine) >= len(self.of(column)):
                self.samples[column] = mine

    def of(self, column: Column) -> list[Sample]:
        return self.samples.get(column, [])


def method(config: Mapping[str, Any]) -> str | None:
    """What a reader calls the cell with this configuration; None: it is none of the table's."""
    memory, mode = config.get("memory"), config["mode"]["name_"]
    asked = config["evaluation"].get("key_value") or {"keys": "numbers"}
    if mode not in ("baseline", "sparse_attention") or asked["keys"] != "numbers":
        return None
    if memory is None:
        return UNTOUCHED
    told = {"layer_fraction": config["layer_fraction"], **memory}
    if any(told.get(name, it) != it for name, it in SHARED.items()):
        return None
    policy = memory.get("policy", config["policy"])["name_"]
    if policy != "ebbinghaus":
        return policy
    if memory.get("retention", {}).get("name_", "exponential") != "exponential":
        return None
    birth = memory.get("birth", {})
    gains = memory.get("reinforcement"), memory.get("recall_threshold")
    name = birth.get("name_", "rehearsed")
    if name == "rehearsed" and gains != (1.0, 0.01):
        return "constant" if gains == (0.0, None) else None
    return f"{name} and rehearsed" if birth.get("rehearsed") else name


def rows(roots: list[Path]) -> dict[tuple[float | None, str], Row]:
    found: dict[tuple[float | None, str], Row] = defaultdict(Row)
    runs = [(load(it), it) for root in roots for it in folders_below(root)]
    for record, folder in sorted(runs, key=lambda it: it[0].provenance["started"]):
        name = method(record.config)
        if name is not None:
            budget = None if name == UNTOUCHED else record.config["budget"]
            told = samples.read(folder)
            found[budget, name].take({it: told[it] for it in told if it in record.results})
    return found


def table(found: Mapping[tuple[float | None, str], Row]) -> str:
    head = ["kept", "method"]
    for column in COLUMNS:
        head += [column.heading, "learned better by"]
    lines = ["| " + " | ".join(head) + " |", "| " + " --- |" * len(head)]
    budgets = sorted({it for it, name in found if name == LEARNED and it}, reverse=True)
    for budget in (None, *budgets):
        for name in ORDER:
            if (budget, name) not in found:
                continue
            row, best = found[budget, name], found.get((budget, LEARNED))
            cells = ["all" if budget is None else f"{budget:.0%}", name]
            for column in COLUMNS:
                ours = row.of(column)
                cells.append(f"{column.value(ours):.2f}" if ours else "–")
                other = [] if best is None or row is best else best.of(column)
                cells.append(column.better(other, ours) if ours and other else "")
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def part(panel: Axes) -> None:
    """Move each name to where it lies on no other name and no point, if there is such a place."""
    names = [it for it in panel.texts if isinstance(it, Annotation)]
    points = [panel.transData.transform(it.xy) for it in names]
    placed: list[Bbox] = []
    for name in names:
        for offset, alignment in BESIDE:
            name.set_position(offset)
            name.set_horizontalalignment(alignment)
            box = name.get_window_extent()
            if not box.count_overlaps(placed) and not any(box.contains(*it) for it in points):
                break
        placed.append(name.get_window_extent())


def picture(found: Mapping[tuple[float | None, str], Row], path: Path) -> None:
    """Needles and perplexity of every method but the window's double, a panel for each budget."""
    budgets = sorted({it for it, name in found if name == LEARNED and it}, reverse=True)
    needles, perplexity = COLUMNS[0], COLUMNS[-1]
    figure, panels = plt.subplots(
        1, len(budgets), figsize=(6.2 * len(budgets), 4.6), layout="constrained", squeeze=False,
        sharex=True, sharey=True,
    )  # fmt: skip
    for budget, panel in zip(budgets, panels[0], strict=True):
        for name in ORDER:
            row = found.get((None if name == UNTOUCHED else budget, name))
            if name == "constant" or row is None or not (row.of(needles) and row.of(perplexity)):
                continue
            place = perplexity.value(row.of(perplexity)), needles.value(row.of(needles))
            told = "black" if name == UNTOUCHED else "C3" if LEARNED in name else "C0"
            panel.plot(*place, "o", color=told)
            panel.annotate(name, place, textcoords="offset points", xytext=BESIDE[0][0], fontsize=8)
        panel.margins(x=0.12)
        panel.set_title(f"{budget:.0%} of the tokens kept")
        panel.set_xlabel("perplexity, windows of 2048 (lower is better)")
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel("needles of 1024 tokens answered, % (question unseen)")
    figure.draw_without_rendering()
    for panel in panels[0]:
        part(panel)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    here, known = Path(__file__).parent, rows([Path(it) for it in sys.argv[1:]])
    text = table(known)
    (here / "table.md").write_text(text + "\n", encoding="utf-8")
    picture(known, here / "table.png")
    print(text)
