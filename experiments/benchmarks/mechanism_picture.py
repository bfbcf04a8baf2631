"""Mechanisms as a picture: times faster than torch's attention, by length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

TITLES = {"forward": "Forward", "both": "Forward and backward"}
MARKS = "os^vDP"


def draw(results: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write a PNG with a panel of speed for each pass, and one of memory."""
    passes = [it for it in TITLES if any(it == other["pass"] for other in results)]
    names = list(dict.fromkeys(it["name"] for it in results))
    figure = Figure((4.6 * (len(passes) + 1) + 1.8, 4.6), layout="constrained")
    axes = list(figure.subplots(1, len(passes) + 1, squeeze=False)[0])
    for which, panel in zip(passes, axes, strict=False):
        mine = [it for it in results if it["pass"] == which]
        _lines(panel, mine, names, lambda it: it["ratio"])
        panel.axhline(1, color="black", linewidth=0.8)
        panel.set(title=TITLES[which], ylabel="times faster than SDPA")
    last = [it for it in results if it["pass"] == passes[-1] and it["held_bytes"] is not None]
    _lines(axes[-1], last, names, lambda it: it["held_bytes"] / 2**20)
    axes[-1].set(title=f"Memory, {TITLES[passes[-1]].lower()}", ylabel="MiB held at most")
    for panel in axes:
        panel.set_xscale("log", base=2)
        panel.set_yscale("log", base=2)
        panel.xaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_major_formatter("{x:g}")
        panel.set_xlabel("tokens")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=7)
    figure.savefig(path, dpi=150)


def _lines(
    panel: Axes, results: Sequence[Mapping[str, Any]], names: Sequence[str], of: Any
) -> None:
    colours = colormaps["tab20"]
    for at, name in enumerate(names):
        mine = sorted((it for it in results if it["name"] == name), key=lambda it: it["tokens"])
        panel.plot(
            [it["tokens"] for it in mine], [of(it) for it in mine], label=name, markersize=3.5,
            linewidth=1, color=colours(at % 20), marker=MARKS[at * len(MARKS) // len(names)],
        )  # fmt: skip
