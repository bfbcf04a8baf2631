"""Loss by position of a token, and by how long ago it last occurred: where forgetting is felt.

And what is found, by the age of what was asked for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from memollm.report import methods
from memollm.report.evidence import Evidence, Loss
from memollm.report.figures.curves import LINES
from memollm.report.figures.figure import Figure, file_name
from memollm.report.figures.heatmap import STREAMED
from memollm.report.figures.style import INK, Look, canvas, legend, looks
from memollm.report.methods import Z
from memollm.report.table import Table

AXIS_WORDS = {
    "position": "position of the token",
    "distance": "tokens since what it repeats",
    "age": "tokens since it was last said",
}
FOUND = "found"
ALONE = "Band: 95% interval over windows or prompts."
POOLED = "Mean over the cells of each method; band: from the lowest to the highest of them."


@dataclass(frozen=True)
class Line:
    """A series: value, and the limits of its band, by bucket."""

    name: str
    points: Mapping[str, tuple[float, float, float]]
    baseline: bool = False


def by_bucket(table: Table, evidence: Evidence) -> list[Figure]:
    """For each evaluation that tallies losses: by position, and the change against the baseline."""
    figures = []
    for (evaluation, axis), rows in evidence.losses.items():
        if axis == "position":
            figures.append(_figure(table, evaluation, axis, rows, "loss", "nats per token"))
    for (evaluation, axis), rows in evidence.changes.items():
        words = "loss added by forgetting"
        figures.append(_figure(table, evaluation, axis, rows, words, "nats per token, added"))
    return [it for it in figures if it is not None]


def by_age(table: Table, evidence: Evidence) -> list[Figure]:
    """For each evaluation that tells the age of what it asks for: the share found."""
    figures = []
    for (evaluation, asking), rows in evidence.found.items():
        words = evaluation if asking == STREAMED else f"{evaluation}, question {asking}"
        figures.append(_figure(table, words, "age", rows, FOUND, "share found"))
    return [it for it in figures if it is not None]


def _figure(
    table: Table,
    evaluation: str,
    axis: str,
    rows: Mapping[int, Mapping[str, Loss]],
    words: str,
    unit: str,
) -> Figure | None:
    buckets = sorted(
        {name for losses in rows.values() for name in losses},
        key=lambda it: (not it[0].isdigit(), it.zfill(24)),
    )
    if len(buckets) < 2:
        return None
    pooled = len(rows) > LINES + 1
    lines = _pooled(table, rows) if pooled else _alone(table, rows)
    figure, axes = canvas()
    looked = looks(it.name for it in lines if not it.baseline)
    for line in lines:
        look = looked.get(line.name, Look(INK, "*", "--"))
        xs = [index for index, name in enumerate(buckets) if name in line.points]
        values = [line.points[buckets[index]] for index in xs]
        axes.fill_between(
            xs, [it[1] for it in values], [it[2] for it in values],
            color=look.colour, alpha=0.13, linewidth=0,
        )  # fmt: skip
        axes.plot(
            xs, [it[0] for it in values], color=look.colour, marker=look.marker,
            linestyle=look.dash, linewidth=1.4, markersize=5, markeredgewidth=0, label=line.name,
        )  # fmt: skip
    if words == FOUND:
        axes.set_ylim(-0.05, 1.05)
    elif words != "loss":
        axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_xticks(range(len(buckets)), list(map(_shown, buckets)), rotation=30, ha="right")
    axes.set_xlabel(AXIS_WORDS[axis])
    axes.set_ylabel(unit)
    legend(figure, axes)
    return Figure(
        name=file_name(f"{evaluation}_{words}_by_{axis}"),
        title=f"{evaluation}: {words}, by {AXIS_WORDS[axis]}",
        caption=POOLED if pooled else ALONE,
        alt=f"{words} by {AXIS_WORDS[axis]}. " + " ".join(_told(it, buckets) for it in lines),
        data=[
            {"line": line.name, axis: _shown(name), unit: value, "low": low, "high": high}
            for line in lines
            for name, (value, low, high) in line.points.items()
        ],
        picture=figure,
    )


def _alone(table: Table, rows: Mapping[int, Mapping[str, Loss]]) -> list[Line]:
    found = []
    for index, losses in rows.items():
        row = table.rows[index]
        apart = {key: row.settings[key] for key in methods.parameters(table) if key in row.settings}
        name = f"{methods.method(table, row)} {methods.told(apart)}".strip()
        points = {
            bucket: (it.value, it.value - Z * (it.stderr or 0), it.value + Z * (it.stderr or 0))
            for bucket, it in losses.items()
            if math.isfinite(it.value)
        }
        found.append(_line(name, points, row.cell.is_baseline))
    return found


def _pooled(table: Table, rows: Mapping[int, Mapping[str, Loss]]) -> list[Line]:
    values: dict[tuple[str, bool], dict[str, list[float]]] = {}
    for index, losses in rows.items():
        row = table.rows[index]
        key = methods.method(table, row), row.cell.is_baseline
        for bucket, it in losses.items():
            if math.isfinite(it.value):
                values.setdefault(key, {}).setdefault(bucket, []).append(it.value)
    return [
        _line(name, {key: _range(some) for key, some in buckets.items()}, baseline)
        for (name, baseline), buckets in values.items()
    ]


def _line(name: str, points: Mapping[str, tuple[float, float, float]], baseline: bool) -> Line:
    return Line("untouched model" if baseline else name, points, baseline)


def _range(values: Sequence[float]) -> tuple[float, float, float]:
    return math.fsum(values) / len(values), min(values), max(values)


def _shown(bucket: str) -> str:
    """A bucket's name in words.

    >>> _shown("64_128"), _shown("none")
    ('64-128', 'new')
    """
    return "new" if bucket == "none" else bucket.replace("_", "-")


def _told(line: Line, buckets: Sequence[str]) -> str:
    there = [name for name in buckets if name in line.points]
    if not there:
        return ""
    first, last = there[0], there[-1]
    return (
        f"{line.name}: {line.points[first][0]:.3g} at {_shown(first)}, "
        f"{line.points[last][0]:.3g} at {_shown(last)}."
    )
