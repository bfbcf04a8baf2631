"""What is found, by length of the context and depth of the needle: one picture a method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from memollm.report import methods
from memollm.report.evidence import Evidence, Grid
from memollm.report.figures.figure import Figure, file_name
from memollm.report.figures.style import LINE, SERIES, canvas
from memollm.report.table import Table

STREAMED = "streamed"  # the way of asking that is not named
DEEPEST = 0.6  # opacity of a share of 1: ink can still be read on it


def heatmaps(table: Table, evidence: Evidence) -> list[Figure]:
    """For each evaluation that tells length and depth, and each method, the shares found."""
    figures = []
    for (evaluation, asking), grids in evidence.grids.items():
        words = evaluation if asking == STREAMED else f"{evaluation}, question {asking}"
        for name, indices in _by_method(table, grids).items():
            pooled = _pooled([grids[index] for index in indices])
            figures.append(_figure(words, name, pooled, len(indices)))
    return figures


def draw(axes: Axes, cells: Mapping[tuple[int, float], tuple[int, int]]) -> None:
    """Shares as tiles, the more the stronger in colour, with their counts.

    Args:
        axes: empty ones.
        cells: right answers and all, by length (tokens) and depth (share of the context).
    """
    lengths = sorted({length for length, _ in cells})
    depths = sorted({depth for _, depth in cells})
    for (length, depth), (right, n) in cells.items():
        corner = lengths.index(length) - 0.5, depths.index(depth) - 0.5
        axes.add_patch(Rectangle(corner, 1, 1, facecolor="none", edgecolor=LINE, linewidth=0.8))
        axes.add_patch(
            Rectangle(
                corner, 1, 1, facecolor=SERIES[0], alpha=DEEPEST * right / n, edgecolor="none"
            )
        )
        axes.text(*_middle(corner), f"{right}/{n}", ha="center", va="center", fontsize=8.5)
    axes.set_xlim(-0.5, len(lengths) - 0.5)
    axes.set_ylim(len(depths) - 0.5, -0.5)
    axes.set_xticks(range(len(lengths)), [str(length) for length in lengths])
    axes.set_yticks(range(len(depths)), [f"{depth:.0%}" for depth in depths])
    axes.set_xlabel("context, tokens")
    axes.set_ylabel("depth of the needle")
    axes.grid(False)


def _figure(words: str, method: str, grid: Grid, rows: int) -> Figure:
    lengths = {length for length, _ in grid.cells}
    depths = {depth for _, depth in grid.cells}
    figure, axes = canvas(min(2.0 + 0.85 * len(lengths), 5.2), min(1.3 + 0.36 * len(depths), 5.0))
    draw(axes, grid.cells)
    right = sum(it[0] for it in grid.cells.values())
    n = sum(it[1] for it in grid.cells.values())
    pooled = f" Pooled over {rows} cells of the table." if rows > 1 else ""
    worst = min(grid.cells, key=lambda key: (grid.cells[key][0] / grid.cells[key][1], key))
    least, asked = grid.cells[worst]
    return Figure(
        name=file_name(f"{words}_found_by_{method}"),
        title=f"{words}: {method}",
        caption=(
            "Found, of all asked; the stronger the colour, the more. "
            f"In all {right} of {n}.{pooled}"
        ),
        alt=(
            f"{method} finds {right} of {n} in all; the least, {least} of {asked}, "
            f"at depth {worst[1]:.0%} of {worst[0]} tokens."
        ),
        data=[
            {"method": method, "length": length, "depth": depth, "found": found, "asked": asked}
            for (length, depth), (found, asked) in sorted(grid.cells.items())
        ],
        picture=figure,
    )


def _by_method(table: Table, grids: Mapping[int, Grid]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for index in grids:
        row = table.rows[index]
        name = "untouched model" if row.cell.is_baseline else methods.method(table, row)
        found.setdefault(name, []).append(index)
    return found


def _pooled(grids: Sequence[Grid]) -> Grid:
    cells: dict[tuple[int, float], tuple[int, int]] = {}
    for grid in grids:
        for key, (right, n) in grid.cells.items():
            before = cells.get(key, (0, 0))
            cells[key] = before[0] + right, before[1] + n
    return Grid(cells)


def _middle(corner: tuple[float, float]) -> tuple[float, float]:
    return corner[0] + 0.5, corner[1] + 0.5
