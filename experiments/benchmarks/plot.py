"""Results as a picture: gain over the default cache by context, and a long generation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.benchmarks.decode import ratios
from experiments.benchmarks.entrants import ALL, DEFAULT, HALF, STATIC, memory_name, pruned

LINES = {  # entrant: label, style
    memory_name(0.1, ALL): ("10 % kept, all layers", "C0-o"),
    memory_name(0.1, HALF): ("10 % kept, first half", "C0--o"),
    memory_name(1.0, ALL): ("nothing forgotten", "C2-o"),
    pruned(0.1): ("kvpress-style, 10 % kept", "C1-s"),
    STATIC: ("static cache", "C7-^"),
}


def draw(results: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write a PNG with a panel for each precision and, where there is one, the long generation."""
    decodes = [it for it in results if it["kind"] == "decode" and "skipped" not in it]
    longs = [it for it in results if it["kind"] == "long"]
    dtypes = list(dict.fromkeys(it["dtype"] for it in decodes))
    panels = len(dtypes) + 2 * bool(longs)
    if not panels:
        return
    figure = Figure((4.2 * panels, 3.6), layout="constrained")
    axes = list(figure.subplots(1, panels, squeeze=False)[0])
    for dtype in dtypes:
        mine = [it for it in decodes if it["dtype"] == dtype and it["batch"] == 1]
        _gains(axes.pop(0), dtype, sorted(mine, key=lambda it: it["context"]))
    if longs:
        _time(axes.pop(0), longs[-1]["bins"])
        _held(axes.pop(0), longs[-1]["bins"])
    figure.savefig(path, dpi=150)


def _gains(axes: Axes, dtype: str, results: Sequence[Mapping[str, Any]]) -> None:
    contexts = [it["context"] for it in results]
    for name, (label, style) in LINES.items():
        axes.plot(
            contexts, [ratios(it["seconds"], name, DEFAULT) for it in results], style,
            label=label, markersize=3,
        )  # fmt: skip
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set(
        title=f"Decode, {dtype}, batch 1", xlabel="context (tokens)",
        ylabel="times faster than HF's default cache",
    )  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.legend(fontsize=7)


def _time(axes: Axes, bins: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    for name, style in (("budget", "C0-"), ("default", "C7-")):
        found = bins[name]
        axes.plot(
            [it["tokens"] for it in found], [1e3 * it["seconds_per_token"] for it in found], style,
            label="with a budget" if name == "budget" else "HF's default cache",
        )  # fmt: skip
    axes.set(title="A long generation", xlabel="tokens generated", ylabel="ms a token", ylim=0)
    axes.legend(fontsize=7)


def _held(axes: Axes, bins: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    found = bins["budget"]
    axes.plot([it["tokens"] for it in found], [it["kv_bytes"] / 2**10 for it in found], "C0-")
    axes.set(
        title="A long generation, with a budget", xlabel="tokens generated", ylabel="KiB cached",
        ylim=0,
    )  # fmt: skip
