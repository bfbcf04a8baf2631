"""What one parameter does: every measure of quality over threshold, strength, layers, budget."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from matplotlib.axes import Axes

from memollm.report import methods
from memollm.report.figures.figure import Figure, file_name
from memollm.report.figures.style import INK, Look, canvas, legend, looks
from memollm.report.inert import clipped, visible
from memollm.report.table import Column, Table
from memollm.report.wording import MISSING
from memollm.statistics.intervals import CONFIDENCE

LINES = 6  # that can be told apart in one plot
TICKS = 8  # values of a parameter that are each named
WIDE = 20  # ratio of the largest to the smallest value, from which a scale is logarithmic
OWN = (
    f"A line joins cells that differ in nothing else. Band: {CONFIDENCE:.0%} interval of the "
    "difference from the untouched model on the same prompts; where there is none, from the "
    "standard error."
)
MEAN = (
    "A line is the mean over all settings of the other parameters that were measured at every "
    "point; band: from the lowest of them to the highest."
)

Points: TypeAlias = dict[float, tuple[float, float, float]]  # value and its limits, by parameter


@dataclass(frozen=True)
class Spot:
    """A line at one value of the parameter."""

    x: float
    y: float
    low: float
    high: float
    cells: int


def over_parameters(table: Table) -> list[Figure]:
    """A figure for each parameter that takes two numbers or more, and each column."""
    speed = methods.speed(table)
    columns = [*methods.quality(table), *([speed] if speed else [])]
    figures = []
    for parameter in methods.parameters(table):
        for column in columns:
            lines = _own(table, parameter, column)
            alone = len(lines) <= LINES
            lines = lines if alone else _means(table, parameter, column)
            if lines:
                figures.append(_figure(table, parameter, column, lines, OWN if alone else MEAN))
    return figures


def _own(table: Table, parameter: str, column: Column) -> dict[str, list[Spot]]:
    """A line for each setting of everything else."""
    lines = {}
    for name, others in _settings(table, parameter, column).items():
        apart = _differing(others)
        for key, points in others.items():
            told = methods.told({part: dict(key)[part] for part in apart})
            if len(points) > 1:
                lines[f"{name} {told}".strip()] = [
                    Spot(x, *point, 1) for x, point in sorted(points.items())
                ]
    return lines


def _means(table: Table, parameter: str, column: Column) -> dict[str, list[Spot]]:
    """A line for each method: the mean over the settings that are there at every point."""
    lines = {}
    for name, others in _settings(table, parameter, column).items():
        xs = {x for points in others.values() for x in points}
        whole = [points for points in others.values() if points.keys() == xs]
        if len(xs) > 1 and whole:
            lines[name] = [_mean(x, [points[x][0] for points in whole]) for x in sorted(xs)]
    return lines


def _mean(x: float, ys: Sequence[float]) -> Spot:
    return Spot(x, math.fsum(ys) / len(ys), min(ys), max(ys), len(ys))


def _settings(table: Table, parameter: str, column: Column) -> dict[str, dict[tuple, Points]]:
    """By method and the other parameters."""
    factor = 100.0 if methods.is_share(table, column) else 1.0
    found: dict[str, dict[tuple, Points]] = {}
    for name, rows in methods.methods(table).items():
        for row in rows:
            x, entry = methods.number(row.settings.get(parameter, "")), row.entries.get(column)
            if x is None or entry is None or not math.isfinite(entry.value):
                continue
            key = tuple(methods.rest(table, row, parameter).items())
            points = found.setdefault(name, {}).setdefault(key, {})
            low, high = methods.limits(entry)
            points[x] = factor * entry.value, factor * low, factor * high
    return found


def _differing(others: Mapping[tuple, object]) -> list[str]:
    """The parameters that tell the settings apart."""
    texts = [dict(key) for key in others]
    keys = dict.fromkeys(part for text in texts for part in text)
    return [part for part in keys if len({text.get(part, MISSING) for text in texts}) > 1]


def _figure(
    table: Table,
    parameter: str,
    column: Column,
    lines: Mapping[str, Sequence[Spot]],
    how: str,
) -> Figure:
    heading, share = methods.heading(column), methods.is_share(table, column)
    shown = clipped(visible(parameter), 40)
    figure, axes = canvas()
    for (name, spots), look in zip(lines.items(), looks(lines).values(), strict=True):
        _draw(axes, name, spots, look)
    _baseline(axes, table, column)
    _scale(axes, sorted({spot.x for spots in lines.values() for spot in spots}))
    axes.set_xlabel(shown)
    axes.set_ylabel(heading + (", %" if share else ""))
    legend(figure, axes)
    others = [text for text in _values(table, parameter) if methods.number(text) is None]
    skipped = f" Not drawn: {len(others)} settings that are no single number." if others else ""
    return Figure(
        name=file_name(f"{heading}_over_{parameter}"),
        title=f"{heading} over {shown}",
        caption=how + skipped,
        alt=f"{heading} over {shown}. " + " ".join(_told(*line, share) for line in lines.items()),
        data=[
            {"line": name, parameter: it.x, heading: it.y, "low": it.low, "high": it.high}
            | {"cells": it.cells}
            for name, spots in lines.items()
            for it in spots
        ],
        picture=figure,
    )


def _draw(axes: Axes, name: str, spots: Sequence[Spot], look: Look) -> None:
    xs = [it.x for it in spots]
    axes.fill_between(
        xs, [it.low for it in spots], [it.high for it in spots],
        color=look.colour, alpha=0.13, linewidth=0,
    )  # fmt: skip
    axes.plot(
        xs, [it.y for it in spots], color=look.colour, marker=look.marker, linestyle=look.dash,
        markersize=5, linewidth=1.5, markeredgewidth=0, label=name,
    )  # fmt: skip


def _baseline(axes: Axes, table: Table, column: Column) -> None:
    factor = 100.0 if methods.is_share(table, column) else 1.0
    entries = [row.entries.get(column) for row in methods.baselines(table)]
    for index, entry in enumerate(it for it in entries if it and math.isfinite(it.value)):
        label = "untouched model" if index == 0 else None
        axes.axhline(factor * entry.value, color=INK, linewidth=0.9, linestyle="--", label=label)


def _scale(axes: Axes, xs: Sequence[float]) -> None:
    if xs[0] > 0 and xs[-1] / xs[0] >= WIDE:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    if len(xs) <= TICKS:
        axes.set_xticks(xs, [f"{x:g}" for x in xs])
        axes.minorticks_off()


def _values(table: Table, parameter: str) -> list[str]:
    rows = [row for some in methods.methods(table).values() for row in some]
    return methods.levels(rows, parameter)


def _told(name: str, spots: Sequence[Spot], share: bool) -> str:
    unit = "%" if share else ""
    first, last = spots[0], spots[-1]
    return f"{name}: from {first.y:.4g}{unit} at {first.x:g} to {last.y:.4g}{unit} at {last.x:g}."
