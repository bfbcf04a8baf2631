"""The suite's figure, from ``table.csv``: what is answered by how much is kept.

    python experiments/004_suite/plot.py

Rows: the memory and the policies, which forget while the context streams by; the presses of
kvpress, which compress once after dense prefill. Bars: 95 % intervals of the difference from the
untouched model on the same prompts.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from memollm.report.figures.style import SERIES, drawing

BASELINE = "untouched"
HERE = Path(__file__).parent
SHARES = (0.1, 0.25, 0.5, 1.0)
COLUMNS = {
    "needle": "needles found, %",
    "key_value": "key-value pairs, %",
    "ruler": "variable tracking, %",
}
STREAMED = {**COLUMNS, "perplexity": "perplexity, streamed"}
ONCE = {**COLUMNS, "continuation": "perplexity, after the context"}  # a press streams nothing
LEFT_OUT = ("full", "power law", "constant strength")  # on top of another line, to the last answer
MARKERS = "osD^vPX<>h*"


def main() -> None:
    with (HERE / "table.csv").open(encoding="utf-8") as file:
        lines = [it for it in csv.DictReader(file) if it["method"] not in LEFT_OUT]
    presses = [it for it in lines if it["method"].startswith("press ")]
    untouched = [it for it in lines if it["method"] == BASELINE]
    groups = {
        "forgetting while the context streams by": (
            [it for it in lines if it not in presses],
            STREAMED,
        ),
        "compressed once, after dense prefill (kvpress)": ([*presses, *untouched], ONCE),
    }
    with drawing():
        figure = Figure(figsize=(14.0, 7.4), layout="constrained")
        grid = figure.add_gridspec(len(groups), 1)
        for place, (title, (some, columns)) in enumerate(groups.items()):
            part = figure.add_subfigure(grid[place, 0])
            part.suptitle(title, x=0.01, ha="left", fontweight="bold")
            panels = part.subplots(1, len(columns))
            methods = list(dict.fromkeys(it["method"] for it in some if it["method"] != BASELINE))
            for axes, (evaluation, words) in zip(panels, columns.items(), strict=True):
                _panel(axes, [it for it in some if it["evaluation"] == evaluation], words, methods)
            handles, labels = panels[0].get_legend_handles_labels()
            part.legend(handles, labels, loc="outside right center", frameon=False)
        figure.savefig(HERE / "suite.png", dpi=110, facecolor="white")


def _panel(axes: Axes, lines: Sequence[dict[str, str]], words: str, methods: Sequence[str]) -> None:
    factor = 100 if words.endswith("%") else 1
    for index, name in enumerate(methods):
        points = sorted((it for it in lines if it["method"] == name), key=_place)
        # side by side, where many methods stand at the same share
        xs = [_place(it) + 0.05 * (index - (len(methods) - 1) / 2) for it in points]
        values = [factor * float(it["value"]) for it in points]
        limits = [(factor * float(it["low"]), factor * float(it["high"])) for it in points]
        axes.errorbar(
            xs, values,
            yerr=[
                [max(value - low, 0) for value, (low, _) in zip(values, limits, strict=True)],
                [max(high - value, 0) for value, (_, high) in zip(values, limits, strict=True)],
            ],
            color=SERIES[index % len(SERIES)], marker=MARKERS[index % len(MARKERS)], markersize=5,
            linestyle="-" if index < len(SERIES) else ":", linewidth=1.1, elinewidth=0.8,
            label=name.removeprefix("press "),
        )  # fmt: skip
    for it in lines:
        if it["method"] == BASELINE:
            axes.axhline(factor * float(it["value"]), color="black", linewidth=0.8, linestyle="--")
    axes.set_xticks(range(len(SHARES)), [f"{share:.0%}" for share in SHARES])
    axes.set_xlim(-0.4, len(SHARES) - 0.7)
    axes.set_xlabel("tokens kept")
    axes.set_title(words, loc="left", fontsize=9.5)
    axes.set_ylim(*((-3, 103) if factor == 100 else (None, None)))


def _place(line: dict[str, str]) -> int:
    return SHARES.index(float(line["budget"]))


if __name__ == "__main__":
    main()
