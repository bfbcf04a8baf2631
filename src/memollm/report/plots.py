"""One run's pictures: how well it predicts by position and age, what it finds, how fast it is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from memollm.record import Measured, RunRecord
from memollm.report.figures import heatmap
from memollm.report.forgetting_curve_plot import forgetting_curve

Samples = Mapping[str, Sequence[Mapping[str, Any]]]
COLOUR = "#2b5c8a"
SIZE = (8.0, 3.6)  # inches


def draw(run: RunRecord, samples: Samples, folder: Path) -> list[Path]:
    """Leave the pictures that ``run`` has data for in ``folder``, as PNG.

    Args:
        run: its results.
        samples: its examples, by evaluation.
        folder: made where it is missing.
    """
    figures = {}
    for name, result in run.results.items():
        if _numbered(result.metrics, "nll_position"):
            figures[f"{name}_by_position_and_distance"] = _losses(result.metrics)
        if cells := _cells(samples.get(name, ())):
            figures[f"{name}_by_length_and_depth"] = _heatmap(cells)
        if _numbered(result.metrics, "decode_ratio_to_baseline"):
            figures[f"{name}_by_context"] = _speed(result.metrics)
        settings = (run.config.get("evaluation") or {}).get(name) or {}
        if curve := forgetting_curve(result.metrics, settings):
            figures[f"{name}_by_age"] = curve
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.png")
        figure.savefig(paths[-1], dpi=120, bbox_inches="tight")
    return paths


def _losses(metrics: Mapping[str, Measured]) -> Figure:
    figure = Figure(figsize=SIZE, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    words = {
        "nll_position": "position of the token",
        "nll_distance": "tokens since what it repeats",
    }
    for axes, (prefix, label) in zip((left, right), words.items(), strict=True):
        _errorbars(axes, _numbered(metrics, prefix), label)
    left.set_ylabel("nats per token")
    return figure


def _speed(metrics: Mapping[str, Measured]) -> Figure:
    figure = Figure(figsize=(5.0, 3.6), layout="constrained")
    axes = figure.subplots()
    ratios = _numbered(metrics, "decode_ratio_to_baseline")
    _errorbars(axes, ratios, "context, tokens")
    noise = [it.value for it in _numbered(metrics, "aa_noise").values()]
    if noise:
        axes.axhspan(1 - max(noise), 1 + max(noise), color="#cccccc", zorder=0, label="A/A noise")
        axes.legend(frameon=False)
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.set_ylabel("decode speed / untouched model")
    return figure


def _errorbars(axes: Axes, points: Mapping[str, Measured], label: str) -> None:
    places = range(len(points))
    axes.errorbar(
        places,
        [it.value for it in points.values()],
        yerr=[it.stderr or 0.0 for it in points.values()],
        marker="o",
        color=COLOUR,
        capsize=3,
    )
    axes.set_xticks(places, list(points), rotation=30, ha="right")
    axes.set_xlabel(f"{label} (bars: standard error)")
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _numbered(metrics: Mapping[str, Measured], prefix: str) -> dict[str, Measured]:
    """Metrics ``prefix_<n>`` and ``prefix_<low>_<high>``, by their numbers as words, ascending."""
    found = {}
    for name, metric in metrics.items():
        if match := re.fullmatch(rf"{prefix}_(\d+)(?:_(\d+))?", name):
            low, high = match.groups()
            found[int(low)] = (low if high is None else f"{low}-{high}", metric)
    return {words: metric for _, (words, metric) in sorted(found.items())}


def _cells(samples: Sequence[Mapping[str, Any]]) -> dict[tuple[int, float], list[bool]]:
    cells: dict[tuple[int, float], list[bool]] = {}
    for sample in samples:
        if {"length", "depth", "correct"} <= sample.keys():
            key = (sample["length"], sample["depth"])
            cells.setdefault(key, []).append(sample["correct"])
    return cells


def _heatmap(cells: Mapping[tuple[int, float], Sequence[bool]]) -> Figure:
    lengths = {length for length, _ in cells}
    depths = {depth for _, depth in cells}
    figure = Figure(figsize=(2.0 + 0.9 * len(lengths), 1.2 + 0.5 * len(depths)))
    tiles = {key: (sum(answers), len(answers)) for key, answers in cells.items()}
    heatmap.draw(figure.subplots(), tiles)
    return figure
