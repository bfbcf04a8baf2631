"""Quality against what it costs: bytes of the cache, or speed; with the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from memollm.report import methods
from memollm.report.figures.figure import Figure, file_name
from memollm.report.figures.style import INK, SOFT, Look, canvas, legend, looks
from memollm.report.table import Column, Row, Table
from memollm.statistics.intervals import CONFIDENCE

CROWDED = 60  # points, beyond which standard errors would hide them
CLOSE = 0.05  # of what the front spans
LABELLED = 12  # points of a front, beyond which their numbers would run together
FRONT = (
    "Ringed, and joined: the Pareto front of the point estimates, the cells that none beats in "
    "both; neighbours on it may differ by chance. Numbers are the rows of the table."
)

BARS = (
    f"Bars: the {CONFIDENCE:.0%} interval of the difference from the untouched model, and the "
    "standard error of a speed."
)


@dataclass(frozen=True)
class Point:
    """One row of the table: its number there, its cost and its quality."""

    number: int
    row: Row
    method: str
    x: float
    y: float
    x_error: float  # standard error
    low: float  # limits of y
    high: float


def against_bytes(table: Table) -> list[Figure]:
    """For each measure of quality, it against the share of the untouched model's KV bytes."""
    costs = {
        index: (100 * share, 0.0)
        for index, row in enumerate(table.rows)
        if (share := methods.bytes_share(row)) is not None
    }
    label = "KV cache, % of the untouched model's bytes"
    return _figures(table, costs, "bytes", "KV bytes", label, less_is_better=True)


def against_speed(table: Table) -> list[Figure]:
    """For each measure of quality, it against decoding speed relative to the untouched model."""
    column = methods.speed(table)
    costs = {}
    for index, row in enumerate(table.rows):
        entry = row.entries.get(column) if column else None
        if entry is not None:
            error = entry.metrics[0].stderr if len(entry.metrics) == 1 else None
            costs[index] = (entry.value, error or 0.0)
    label = "decoding speed / untouched model"
    return _figures(table, costs, "speed", "decoding speed", label, less_is_better=False)


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points that no other beats, both coordinates the larger the better.

    In the order of the first coordinate; of equal points the first.

    >>> front([(1.0, 3.0), (2.0, 2.0), (1.0, 2.0), (3.0, 0.0), (2.0, 2.0)])
    [0, 1, 3]
    """
    order = sorted(range(len(points)), key=lambda i: (-points[i][0], -points[i][1], i))
    best, kept = -math.inf, []
    for index in order:
        if points[index][1] > best:
            best = points[index][1]
            kept.append(index)
    return kept[::-1]


def _figures(
    table: Table,
    costs: dict[int, tuple[float, float]],
    name: str,
    words: str,
    label: str,
    less_is_better: bool,
) -> list[Figure]:
    figures = []
    for column in methods.quality(table):
        points = _points(table, column, costs)
        if len({it.x for it in points}) > 1:
            figures.append(_figure(table, column, points, name, words, label, less_is_better))
    return figures


def _points(table: Table, column: Column, costs: dict[int, tuple[float, float]]) -> list[Point]:
    points = []
    for index, (x, x_error) in costs.items():
        row = table.rows[index]
        entry = row.entries.get(column)
        if entry is None or not (math.isfinite(entry.value) and math.isfinite(x)):
            continue
        # The untouched model is what differences are taken from: it has no interval of its own.
        untouched = row.cell.is_baseline
        low, high = (entry.value, entry.value) if untouched else methods.limits(entry)
        factor = 100.0 if methods.is_share(table, column) else 1.0
        points.append(
            Point(
                index + 1,
                row,
                "untouched model" if untouched else methods.method(table, row),
                x,
                factor * entry.value,
                x_error if math.isfinite(x_error) else 0.0,
                factor * low,
                factor * high,
            )
        )
    return points


def _figure(
    table: Table,
    column: Column,
    points: Sequence[Point],
    name: str,
    words: str,
    label: str,
    less_is_better: bool,
) -> Figure:
    higher = methods.direction(table, column)
    signed = [(-it.x if less_is_better else it.x, it.y if higher else -it.y) for it in points]
    best = [points[index] for index in front(signed)]
    heading = methods.heading(column)
    figure, axes = canvas()
    _scatter(axes, points)
    _mark(axes, best)
    axes.set_xlabel(f"{label} ({'less' if less_is_better else 'more'} is better)")
    axes.set_ylabel(f"{heading}{', %' if methods.is_share(table, column) else ''}")
    if not less_is_better:
        axes.axvline(1.0, color=SOFT, linewidth=0.8, linestyle=":")
    legend(figure, axes)
    numbers = ", ".join(str(it.number) for it in best)
    return Figure(
        name=file_name(f"{heading}_against_{name}"),
        title=f"{heading} against {words}",
        caption=f"{FRONT}{f' {BARS}' if len(points) <= CROWDED else ''}",
        alt=f"Scatter plot of {len(points)} cells. On the Pareto front: rows {numbers}.",
        data=[
            {
                "row": it.number,
                "method": it.method,
                **{key: it.row.settings.get(key, "") for key in table.settings},
                label: it.x,
                f"{label}, standard error": it.x_error,
                heading: it.y,
                "low": it.low,
                "high": it.high,
                "on the front": it in best,
            }
            for it in points
        ],
        picture=figure,
    )


def _scatter(axes: Axes, points: Sequence[Point]) -> None:
    named = looks(it.method for it in points if not it.row.cell.is_baseline)
    crowded = len(points) > CROWDED
    untouched = Look(INK, "*", "-")
    for name in dict.fromkeys(it.method for it in points):
        some = [it for it in points if it.method == name]
        look = untouched if some[0].row.cell.is_baseline else named[name]
        xs, ys = [it.x for it in some], [it.y for it in some]
        if not crowded:
            axes.errorbar(
                xs, ys, _reach(some), [it.x_error for it in some],
                fmt="none", ecolor=look.colour, elinewidth=0.7, alpha=0.45,
            )  # fmt: skip
        axes.plot(
            xs, ys, look.marker, color=look.colour, label=name, linestyle="none",
            markersize=9 if look is untouched else 3.5 if crowded else 5.5,
            alpha=0.5 if crowded and look is not untouched else 0.9, markeredgewidth=0,
        )  # fmt: skip


def _apart(points: Sequence[Point]) -> list[Point]:
    """Points far enough from one another that their numbers do not run together."""
    wide = max(it.x for it in points) - min(it.x for it in points)
    high = max(it.y for it in points) - min(it.y for it in points)
    chosen: list[Point] = []
    for it in points:
        near = [
            other
            for other in chosen
            if abs(it.x - other.x) <= CLOSE * wide and abs(it.y - other.y) <= CLOSE * high
        ]
        if not near:
            chosen.append(it)
    return chosen


def _reach(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    """How far the intervals reach below and above; one that leaves its value out, not at all."""
    below = [max(it.y - it.low, 0.0) for it in points]
    return below, [max(it.high - it.y, 0.0) for it in points]


def _mark(axes: Axes, best: Sequence[Point]) -> None:
    xs, ys = [it.x for it in best], [it.y for it in best]
    size = 10 if len(best) <= LABELLED else 5
    axes.plot(
        xs, ys, "o-", color=INK, linewidth=0.9, markersize=size, markerfacecolor="none",
        markeredgewidth=0.9, label="Pareto front",
    )  # fmt: skip
    if len(best) <= LABELLED:
        for it in _apart(best):
            axes.annotate(
                str(it.number), (it.x, it.y), xytext=(7, 6), textcoords="offset points", fontsize=8
            )
