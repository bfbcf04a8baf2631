"""A figure with what belongs to it: its words, its data, and its files."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure as Canvas

from memollm.report.figures.style import VARIABLES, drawing

NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}
PIXELS_PER_INCH = 144


@dataclass(frozen=True)
class Figure:
    """One picture of the report. It is drawn once, by ``render``."""

    name: str  # of its files: letters, digits and _
    title: str
    caption: str  # how to read it
    alt: str  # what it shows, for those who do not see it
    data: Sequence[Mapping[str, Any]]  # every number in it
    picture: Canvas


def file_name(text: str) -> str:
    """``text`` as the name of a file.

    >>> file_name("needle accuracy over memory.sinks")
    'needle_accuracy_over_memory_sinks'
    """
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:80]


def comma_separated(figure: Figure) -> str:
    """The data; a column missing in a row is empty."""
    columns = dict.fromkeys(key for row in figure.data for key in row)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(figure.data)
    return text.getvalue()


def render(figure: Figure, folder: Path) -> tuple[list[Path], Markup]:
    """Leave it in ``folder`` as PNG and SVG, dark on white, and give it as an element of a page.

    Returns:
        the files; an SVG element in the page's colours, all text in it escaped.
    """
    paths = [folder / f"{figure.name}.{kind}" for kind in ("png", "svg")]
    drawn = io.StringIO()
    with drawing():
        figure.picture.savefig(paths[0], dpi=PIXELS_PER_INCH, facecolor="white")
        figure.picture.set_layout_engine("none")  # laid out it is; again would take as long
        figure.picture.savefig(drawn, format="svg", metadata=NO_METADATA)
    text = drawn.getvalue()
    paths[1].write_text(text.replace("<svg ", '<svg style="background: white" ', 1), "utf-8")
    start, _, body = text.partition("<svg")[2].partition(">")
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', start)
    assert box is not None, "matplotlib writes a viewBox"
    opened = Markup('<svg viewBox="0 0 {} {}" style="--drawn: {}" role="img" aria-label="{}">')
    width, height = box.groups()
    return paths, opened.format(width, height, width, figure.alt) + Markup(_ours(body, figure.name))


def _ours(body: str, name: str) -> str:
    """The drawing with names of its own, and variables for colours."""
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"<!--.*?-->\n?", "", body, flags=re.DOTALL)
    body = body.replace("xlink:href", "href")
    body = re.sub(r'(\bid="|\bhref="#|url\(#)', rf"\g<1>{name}-", body)
    for colour, variable in VARIABLES.items():
        body = body.replace(f": {colour}", f": var({variable})")
    return re.sub(r"\n\s*", "\n", body)
