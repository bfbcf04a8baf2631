"""How the report's figures look: one palette, told apart without colour, too.

Figures are drawn in the colours of a light page. On the page itself each of these colours is
replaced by a variable of its style sheet, so that the same figure suits a dark page.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

INK, SOFT, LINE = "#1d2430", "#5b6675", "#d5dbe2"
# Told apart under every common colour blindness, and against white (contrast at least 4.5).
SERIES = ("#2b5c8a", "#b3541e", "#1f7a5c", "#7d4a9c", "#7d6608", "#a8326a")
MARKERS = "osD^vP"
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))
VARIABLES = {  # colour: its variable on the page
    INK: "--ink",
    SOFT: "--soft",
    LINE: "--line",
    "#000000": "--ink",
    **{colour: f"--series-{index}" for index, colour in enumerate(SERIES)},
}
SIZE = (5.2, 3.5)  # inches
ROOM = 72  # letters of a legend side by side
SETTINGS: dict[Any, Any] = {
    "text.parse_math": False,  # a setting may hold a dollar sign
    "svg.fonttype": "none",  # letters, not their outlines: they can be searched and read aloud
    "svg.hashsalt": "memollm",  # the same figure twice is the same file
    "font.size": 9.0,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


@dataclass(frozen=True)
class Look:
    """How one series is drawn."""

    colour: str
    marker: str
    dash: str | tuple


def looks(names: Iterable[str]) -> dict[str, Look]:
    """A look for each name; they repeat where there are more names than colours."""
    distinct = dict.fromkeys(names)
    return {
        name: Look(
            SERIES[index % len(SERIES)],
            MARKERS[index % len(MARKERS)],
            DASHES[index % len(DASHES)],
        )
        for index, name in enumerate(distinct)
    }


@contextlib.contextmanager
def drawing() -> Iterator[None]:
    """Figures made and saved inside have the style; the caller's settings come back after it."""
    with matplotlib.rc_context(SETTINGS):
        yield


def canvas(width: float = SIZE[0], height: float = SIZE[1]) -> tuple[Canvas, Axes]:
    """An empty figure (inches) and its axes."""
    figure = Canvas(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def legend(figure: Canvas, axes: Axes) -> None:
    """Name the series above the axes, in as many columns as fit; nothing where there are none."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        columns = max(1, ROOM // (max(map(len, labels)) + 7))  # the sample of a line takes 7
        figure.legend(handles, labels, loc="outside upper left", ncols=columns, fontsize=8)
