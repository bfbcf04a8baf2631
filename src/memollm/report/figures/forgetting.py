"""Forgetting curves: those that the memories were given, and those measured of the model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from memollm.report import methods
from memollm.report.figures.curves import LINES
from memollm.report.figures.figure import Figure, file_name
from memollm.report.figures.style import SOFT, canvas, drawing, legend, looks
from memollm.report.forgetting_curve_plot import PREFIX, forgetting_curve
from memollm.report.inert import clipped, visible
from memollm.report.table import Row, Table

MEASURED = 4  # models whose measured curve is shown
SHAPES: Mapping[str, Callable[[np.ndarray, float], np.ndarray]] = {
    # R of t / S, as memory.retention defines them; that room would bring torch along
    "exponential": lambda age, decay: np.exp(-age),
    "power_law": lambda age, decay: (1 + age) ** -decay,
}


def given(table: Table) -> list[Figure]:
    """The retention of a token that nothing rehearses, for each curve in the table."""
    curves: dict[str, tuple[str, float, float]] = {}
    thresholds: dict[float, None] = {}
    for row in (it for some in methods.methods(table).values() for it in some):
        if (curve := _curve(row)) is not None:
            curves[_name(row)] = curve
            threshold = methods.number(row.settings.get("threshold", ""))
            if threshold is not None and 0 < threshold < 1:
                thresholds[threshold] = None
    if not curves or len(curves) > LINES:
        return []
    return [_given(curves, sorted({min(thresholds), max(thresholds)} if thresholds else []))]


def measured(table: Table) -> list[Figure]:
    """What old context is worth to the model: loss by the age beyond which all is gone."""
    figures = []
    for row in table.rows:
        for name, result in row.cell.record.results.items():
            if any(metric.startswith(PREFIX) for metric in result.metrics):
                settings = (row.cell.record.config.get("evaluation") or {}).get(name) or {}
                figures += _measured(table, row, result.metrics, settings)
    return figures[:MEASURED]


def _given(curves: Mapping[str, tuple[str, float, float]], thresholds: list[float]) -> Figure:
    longest = max(life for it in curves.values() if (life := _life(it, min(thresholds or [0.01]))))
    tokens = np.geomspace(1, max(1.3 * longest, 16), 240)
    figure, axes = canvas()
    data: list[dict[str, Any]] = []
    for (name, curve), look in zip(curves.items(), looks(curves).values(), strict=True):
        shape, scale, decay = curve
        left = SHAPES[shape](tokens / scale, decay)
        axes.plot(tokens, left, color=look.colour, linestyle=look.dash, linewidth=1.5, label=name)
        data += [
            {"curve": name, "tokens": round(float(age), 2), "retention": float(value)}
            for age, value in zip(tokens[::4], left[::4], strict=True)
        ]
    for threshold in thresholds:
        axes.axhline(threshold, color=SOFT, linewidth=0.8, linestyle=":")
        axes.annotate(
            f"threshold {threshold:g}", (tokens[0], threshold), xytext=(2, 2),
            textcoords="offset points", fontsize=8, color=SOFT,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("age, tokens")
    axes.set_ylabel("retention of what nothing rehearses")
    legend(figure, axes)
    lives = [
        f"{name}: {_life(curve, threshold):,.0f} tokens to threshold {threshold:g}"
        for name, curve in curves.items()
        for threshold in thresholds
    ]
    return Figure(
        name="forgetting_curves",
        title="The forgetting curves of these memories",
        caption=(
            "A token that no query attends to is forgotten where its curve meets the threshold; "
            f"attention lifts it off its curve. {'; '.join(lives)}."
        ),
        alt="Retention by age in tokens. " + "; ".join(lives) + ".",
        data=data,
        picture=figure,
    )


def _curve(row: Row) -> tuple[str, float, float] | None:
    """Shape, tokens in a unit of strength times the strength, and decay."""
    config = row.cell.record.config
    memory = config.get("memory")
    if not isinstance(memory, Mapping) or row.settings.get("policy", "ebbinghaus") != "ebbinghaus":
        return None
    retention = memory.get("retention") or {}
    shape = str(retention.get("name_"))
    strength = methods.number(str(config.get("memory_strength", memory.get("strength"))))
    step = methods.number(str(memory.get("time_step")))
    if shape not in SHAPES or not strength or not step:
        return None
    return shape, strength / step, float(retention.get("decay", 1.0))


def _name(row: Row) -> str:
    curve = _curve(row)
    shape = curve[0].replace("_", " ") if curve else ""
    decay = f", decay {curve[2]:g}" if curve and curve[0] == "power_law" else ""
    strength = row.settings.get("memory_strength", "?")
    return clipped(visible(f"{shape}, strength {strength}{decay}"), methods.LABEL)


def _life(curve: tuple[str, float, float], threshold: float) -> float:
    """Tokens until retention has fallen to ``threshold``."""
    shape, scale, decay = curve
    unit = -math.log(threshold) if shape == "exponential" else threshold ** (-1 / decay) - 1
    return scale * unit


def _measured(
    table: Table, row: Row, metrics: Mapping[str, Any], settings: Mapping[str, Any]
) -> list[Figure]:
    with drawing():
        picture = forgetting_curve(metrics, settings)
    if picture is None:
        return []
    model = clipped(visible(row.settings.get("model", "the model")), methods.LABEL)
    data = [
        {"age": int(name.removeprefix(PREFIX)), "nats lost": it.value, "standard error": it.stderr}
        for name, it in metrics.items()
        if name.startswith(PREFIX)
    ]
    return [
        Figure(
            name=file_name(f"measured_forgetting_of_{model}_{methods.method(table, row)}"),
            title=f"What old context is worth to {model}",
            caption="Loss of a token when all that is older than an age is gone, and the curves "
            "that mirror it.",
            alt="Loss by age: " + ", ".join(f"{it['nats lost']:.3g} at {it['age']}" for it in data),
            data=data,
            picture=picture,
        )
    ]
