"""``report.html`` and ``report.md``: one page that opens anywhere, and one to paste."""

from __future__ import annotations

import base64
import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from memollm import record
from memollm.report import files, inert
from memollm.report.cells import Cells
from memollm.report.document import Document, compose
from memollm.report.figures.figure import Figure, comma_separated, render
from memollm.report.grid import grid
from memollm.report.influence import sentence
from memollm.report.notes import method
from memollm.report.table import Table

FILES = ("report.html", "report.md")
PLOTS = "report_plots"  # beside them; ``plots`` are a run's own
FIRST = 12  # findings and caveats that are shown at once


@dataclass(frozen=True)
class Drawn:
    """A figure on the page."""

    figure: Figure
    svg: Markup
    csv: str  # address that holds the data


def write(cells: Cells, table: Table, folder: Path) -> list[Path]:
    """Leave the report on ``table``, which was made of ``cells``, in ``folder``.

    Returns:
        the two pages, then the figures as PNG and SVG, in a folder beside them.
    """
    document = compose(cells, table)
    plots = folder / PLOTS
    plots.mkdir(exist_ok=True)
    drawn, pictures = {}, []
    for section in document.sections:
        for figure in section.figures:
            paths, svg = render(figure, plots)
            pictures += paths
            drawn[figure.name] = Drawn(figure, svg, address(comma_separated(figure)))
    pages = [folder / name for name in FILES]
    record.replace(pages[0], page(document, drawn))
    record.replace(pages[1], markdown(document))
    return [*pages, *pictures]


def page(document: Document, drawn: Mapping[str, Drawn]) -> str:
    """The report as one HTML file, which loads nothing; every text in it is escaped."""
    environment = _environment(autoescape=True)
    return environment.get_template("report.html").render(
        **_said(document),
        drawn=drawn,
        grid=grid(document.table),
        table_csv=address(files.comma_separated(document.table)),
    )


def markdown(document: Document) -> str:
    """The report in words, with its figures from the folder beside it."""
    environment = _environment(autoescape=False)
    environment.filters["inert"] = lambda text: inert.markdown(str(text))
    table = files.markdown(document.table)
    return environment.get_template("report.md").render(
        **_said(document), table_md=table, plots=PLOTS
    )


def address(csv: str) -> str:
    """``csv`` as a link's address, from which it is saved without any server."""
    coded = base64.b64encode(csv.encode("utf-8", "replace")).decode()
    return f"data:text/csv;charset=utf-8;base64,{coded}"


def _said(document: Document) -> dict[str, object]:
    return {
        "document": document,
        "question": document.question,
        "method": method(document.table),
        "influences": [(it, sentence(it)) for it in document.influences],
        "made": datetime.datetime.now().strftime("%Y-%m-%d %H:%M"),
        "first": FIRST,
    }


def _environment(autoescape: bool) -> Environment:
    loader = PackageLoader("memollm.report")
    environment = Environment(
        autoescape=autoescape, loader=loader, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["visible"] = lambda text: inert.visible(str(text))
    return environment
