"""Native sparse attention as a picture: times faster than dense attention, by length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

LABELS = {"forward": "forward", "both": "forward and backward", "decode": "decode, one query"}


def draw(results: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write a PNG with a line for each pass, and the targets as bars of its colour."""
    figure = Figure((5.2, 3.8), layout="constrained")
    axes = figure.subplots()
    against = [it for it in results if it["against"] == "dense"]
    for at, name in enumerate(LABELS):
        mine = [it for it in against if it["name"] == name]
        tokens = [it["tokens"] for it in mine]
        axes.plot(tokens, [it["ratio"] for it in mine], f"C{at}o-", label=LABELS[name])
        aimed = [it for it in mine if it["aim"] is not None]
        axes.plot(
            [it["tokens"] for it in aimed], [it["aim"] for it in aimed], f"C{at}_", markersize=14,
            markeredgewidth=2,
        )  # fmt: skip
    axes.plot([], [], "k_", markersize=14, markeredgewidth=2, label="target")
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set(
        title="Native sparse attention, one thread, float32", xlabel="tokens",
        ylabel="times faster than dense SDPA",
    )  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.legend(fontsize=7)
    figure.savefig(path, dpi=150)
