"""Sparsity in pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.sparsity.course import Heard, Survival, sparsity
from experiments.sparsity.kinds import Kind
from memollm.traces.trace import Trace

# Okabe and Ito's colours, which readers tell apart whatever colours they see.
COLOURS = {
    Kind.punctuation: "#0072B2", Kind.function_word: "#56B4E9", Kind.number: "#D55E00",
    Kind.proper_name: "#CC79A7", Kind.content_word: "#009E73", Kind.line_break: "#999999",
}  # fmt: skip
LAYERS = "cividis"  # for what is in an order
FAINT = 1e-5  # attention below which points are drawn at the edge


def draw(
    trace: Trace, kept: Mapping[Kind, Survival], listened: Mapping[str, Heard], path: Path
) -> None:
    """Write a PNG with four panels."""
    figure = Figure((11, 8.4), layout="constrained")
    (course, map_), (curves, scatter) = figure.subplots(2, 2)
    _course(course, trace)
    _when(figure, map_, trace)
    _curves(curves, kept)
    _scatter(scatter, listened, trace.thresholds)
    figure.savefig(path, dpi=150)


def _course(axes: Axes, trace: Trace) -> None:
    """Sparsity by layer, over the text."""
    import matplotlib

    shades = matplotlib.colormaps[LAYERS](np.linspace(0, 0.9, len(trace.layers)))
    for layer, shade, values in zip(trace.layers, shades, sparsity(trace), strict=True):
        axes.plot(trace.seen, 100 * values, color=shade, label=f"layer {layer}")
    axes.axvline(trace.prompt_tokens, color="grey", linewidth=0.8, linestyle=":")
    axes.annotate(
        "prompt ends", (trace.prompt_tokens, 0.02), xycoords=("data", "axes fraction"),
        xytext=(4, 0), textcoords="offset points", fontsize=8, color="grey",
    )  # fmt: skip
    axes.set(
        title="How sparse each layer is", xlabel="tokens read", ylabel="forgotten (%)",
        ylim=(0, 100), xlim=(0, int(trace.seen[-1])),
    )  # fmt: skip
    axes.legend(fontsize=8, frameon=False)


def _when(figure: Figure, axes: Axes, trace: Trace) -> None:
    """Layer by position: how long each token was kept."""
    read = int(trace.seen[-1])
    gone = trace.forgotten_at[:, :read].astype(float)
    ages = np.where(gone > 0, gone - np.arange(1, read + 1), np.nan)
    picture = axes.imshow(
        ages, aspect="auto", cmap=LAYERS, interpolation="nearest",
        extent=(0, read, len(ages) - 0.5, -0.5),
    )  # fmt: skip
    axes.set_facecolor("white")
    axes.set_yticks(range(len(trace.layers)), [f"layer {it}" for it in trace.layers])
    axes.set(title="Age at which each token was forgotten (white: kept)", xlabel="position")
    figure.colorbar(picture, ax=axes, label="tokens")


def _curves(axes: Axes, kept: Mapping[Kind, Survival]) -> None:
    """Survival by kind of word."""
    for kind, it in kept.items():
        axes.step(
            [0, *it.ages], [100, *(100 * it.alive)], where="post", color=COLOURS[kind],
            label=f"{kind} (n = {it.tokens})",
        )  # fmt: skip
    axes.set(
        title="Which kinds of words are kept", xlabel="age (tokens)", ylabel="still kept (%)",
        ylim=(0, 102), xlim=0,
    )  # fmt: skip
    axes.legend(fontsize=8, frameon=False)


def _scatter(axes: Axes, listened: Mapping[str, Heard], thresholds: Sequence[float | None]) -> None:
    """Attention received against retention, kept tokens, by layer; dotted: the threshold."""
    import matplotlib

    shades = matplotlib.colormaps[LAYERS](np.linspace(0, 0.9, len(listened)))
    for (layer, it), shade in zip(listened.items(), shades, strict=True):
        axes.scatter(
            np.maximum(it.attention, FAINT), it.retention, s=9, color=shade, alpha=0.6,
            label=f"layer {layer} (ρ = {it.correlation:.2f})",
        )  # fmt: skip
    for level in {it for it in thresholds if it is not None}:
        axes.axhline(level, color="grey", linewidth=0.8, linestyle=":")
    axes.set_xscale("log")
    axes.set(
        title="Attention received and what is retained", ylim=(0, 1.02),
        xlabel=f"attention from each generated token, mean ({FAINT:g}: or less)",
        ylabel="retention at the end",
    )  # fmt: skip
    axes.legend(fontsize=8, frameon=False)
