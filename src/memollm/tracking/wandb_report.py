"""A W&B Report on a sweep: its runs by group, over what varies, by what was measured.

    python -m memollm.tracking.wandb_report SWEEP/wandb_report.json --entity TEAM --project PROJECT

saves the report of a sweep that ran offline, once its runs have been uploaded. It needs
wandb-workspaces, and a login; the file is plain json, and needs neither.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memollm.tracking.comparison import Comparison, parse

if TYPE_CHECKING:
    from wandb_workspaces.reports.v2 import Report  # pyright: ignore[reportMissingImports]

FILE = "wandb_report.json"
TITLE = 128  # characters; W&B refuses longer ones
WIDTH = 24  # columns of a grid of panels
INSTALL = "saving a W&B Report needs wandb-workspaces: pip install 'memollm[wandb-report]'"


class ReportUnavailable(RuntimeError):
    """The report cannot be saved; the message says what to do about it."""


def write(comparison: Comparison, folder: Path) -> Path:
    """Leave what the report is made of in ``folder``."""
    path = folder / FILE
    path.write_text(comparison.text(), encoding="utf-8")
    return path


def build(comparison: Comparison, entity: str, project: str) -> Report:
    """The report, not yet saved.

    Raises:
        ReportUnavailable: if wandb-workspaces is not installed.
    """
    wr = _library()
    settings = [
        wr.ParallelCoordinatesPlotColumn(metric=wr.Config(path), display_name=name)
        for name, path in comparison.settings.items()
    ]
    measured = [
        wr.ParallelCoordinatesPlotColumn(metric=wr.SummaryMetric(name), inverted=not higher)
        for name, higher in comparison.measures.items()
    ]
    paid = [
        wr.ParallelCoordinatesPlotColumn(metric=wr.SummaryMetric(name)) for name in comparison.costs
    ]
    group = f"Group == {comparison.group!r}"
    cells = wr.Runset(name="cells", filters=f"{group} and JobType != 'report'")
    report = wr.Runset(name="report", filters=f"{group} and JobType == 'report'")
    scatters = [
        wr.ScatterPlot(
            title=f"{measure} against {cost}",
            x=wr.SummaryMetric(cost),
            y=wr.SummaryMetric(measure),
            layout=wr.Layout(w=WIDTH // 2, h=9),
        )
        for measure in comparison.measures
        for cost in comparison.costs
    ]
    important = [
        wr.ParameterImportancePlot(with_respect_to=name, layout=wr.Layout(w=WIDTH // 2, h=9))
        for name in comparison.measures
    ]
    columns = wr.ParallelCoordinatesPlot(
        title="every cell", columns=[*settings, *paid, *measured], layout=wr.Layout(w=WIDTH, h=10)
    )
    compared = wr.WeavePanelSummaryTable(
        table_name=comparison.table, layout=wr.Layout(w=WIDTH, h=14)
    )
    page = wr.WeavePanelSummaryTable(table_name="report/report", layout=wr.Layout(w=WIDTH, h=24))
    return wr.Report(
        entity=entity,
        project=project,
        title=comparison.title[:TITLE],
        width="fluid",
        blocks=[
            wr.H1("Cells"),
            wr.PanelGrid(runsets=[cells], panels=[columns, *scatters, *important]),
            wr.H1("Comparison with the untouched model"),
            wr.PanelGrid(runsets=[report], panels=[compared, page]),
        ],
    )


def save(comparison: Comparison, entity: str | None, project: str) -> str:
    """Save the report where the account may; give its address.

    Raises:
        ReportUnavailable: if it cannot be.
    """
    wr = _library()
    try:
        owner = entity or wr.Report(project=project, title=comparison.title[:TITLE]).entity
        return build(comparison, owner, project).save().url
    except Exception as error:  # of the server, the network or a login: all say so in words
        raise ReportUnavailable(f"W&B did not take the report: {error}") from error


def _library() -> Any:
    try:
        import wandb_workspaces.reports.v2 as wr  # pyright: ignore[reportMissingImports] - an extra
    except ImportError as error:
        raise ReportUnavailable(INSTALL) from error
    return wr


def main(arguments: list[str]) -> int:
    """Save the W&B Report of a sweep whose runs have been uploaded."""
    parser = argparse.ArgumentParser(
        prog="python -m memollm.tracking.wandb_report", description=main.__doc__
    )
    parser.add_argument("file", type=Path, metavar="FILE", help=f"{FILE} in the sweep's folder")
    parser.add_argument("--entity", help="user or team; else the account's own")
    parser.add_argument("--project", default="memollm", help="where the runs are")
    given = parser.parse_args(arguments)
    try:
        comparison = parse(given.file.read_text(encoding="utf-8"))
        print(f"W&B Report: {save(comparison, given.entity, given.project)}")
    except (OSError, ValueError, ReportUnavailable) as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
