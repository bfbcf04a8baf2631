"""The forgetting curve of a model as a picture: what is lost by age, and the fitted curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from memollm.record import Measured

PREFIX = "nll_lost_age_"
STYLES = {"exponential": ("#2b5c8a", "-"), "power_law": ("#b3541e", "--")}


def forgetting_curve(metrics: Mapping[str, Measured], settings: Mapping[str, Any]) -> Figure | None:
    """The measured losses with their standard errors, and both curves; None: nothing was measured.

    Args:
        metrics: of the evaluation ``forgetting_curve``.
        settings: its configuration; ``context`` and ``targets`` say what the loss is counted from.
    """
    points = {
        int(name.removeprefix(PREFIX)): metric
        for name, metric in metrics.items()
        if name.startswith(PREFIX)
    }
    if not points:
        return None
    figure = Figure(figsize=(7.0, 4.2), layout="constrained")
    axes = figure.subplots()
    measured = [points[age] for age in sorted(points)]
    axes.errorbar(
        sorted(points),
        [it.value for it in measured],
        yerr=[it.stderr or 0.0 for it in measured],
        marker="o",
        linestyle="none",
        color="black",
        capsize=3,
        label="measured (bars: standard error)",
    )
    context = int(settings["context"])
    ages = np.geomspace(min(points), context, 200)
    contexts = np.arange(context - int(settings["targets"]), context, dtype=float)
    for family, (colour, line) in STYLES.items():
        numbers = {
            name: metrics[f"{name}_{family}"].value
            for name in ("benefit", "scale", "decay")
            if f"{name}_{family}" in metrics
        }
        left = _retention(ages, numbers)[:, None] - _retention(contexts, numbers)[None]
        lost = numbers["benefit"] * left.clip(min=0).mean(axis=1)
        axes.plot(ages, lost, line, color=colour, label=_words(family, metrics))
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("age beyond which keys and values are gone, tokens")
    axes.set_ylabel("loss of a token over full context, nats")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure


def _retention(ages: np.ndarray, numbers: Mapping[str, float]) -> np.ndarray:
    if "decay" in numbers:
        return (1 + ages / numbers["scale"]) ** -numbers["decay"]
    return np.exp(-ages / numbers["scale"])


def _words(family: str, metrics: Mapping[str, Measured]) -> str:
    """What to type for this curve, and how well it fits."""
    strength = metrics[f"strength_{family}"]
    doubt = "" if strength.stderr is None else f" ± {strength.stderr:.2g}"
    decay = metrics.get(f"decay_{family}")
    shape = "" if decay is None else f" retention.decay={decay.value:.3g}"
    return (
        f"retention={family}{shape}\nmemory_strength={strength.value:.3g}{doubt}"
        f" (R² {metrics[f'r2_{family}'].value:.3f})"
    )
