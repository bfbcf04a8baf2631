"""A sweep's report as a run of its own, in the tracker that has the sweep's cells.

It is made from the files that the report left, so that what a team sees is what lies on the disk.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from memollm import record
from memollm.record import RunRecord, UnreadableRecord
from memollm.report.publish import FILES, PLOTS
from memollm.report.settings import differing
from memollm.report.table import HEADLINES
from memollm.tracking.base import Tracker, TrackerUnavailable
from memollm.tracking.comparison import Comparison

JOB_TYPE = "report"
TABLE = "report/table"
TABLES = ("table.md", "table.csv", "table.json", "table.parquet")
COSTS = ("memory/kv_bytes",)
SHOWN = 16  # pictures that are logged one by one; the artifact has them all


def mirror(tracker: Tracker, folder: Path, group: str) -> None:
    """Pass on the report in ``folder``; what goes wrong is a warning, since the files are there.

    Args:
        tracker: the one that has the cells.
        folder: of a sweep; without a report nothing happens.
        group: under which the tracker keeps the sweep.
    """
    page = folder / FILES[0]
    if not page.is_file():
        return
    rows = json.loads((folder / "table.json").read_text(encoding="utf-8"))["rows"]
    compared = comparison(rows, _records(folder), group)
    try:
        live = tracker.start(
            run_dir=str(folder),
            name=f"report {group}",
            group=group,
            job_type=JOB_TYPE,
            tags=[JOB_TYPE],
            config={"cells": len(rows), "varied": list(compared.settings)},
        )
    except TrackerUnavailable as error:
        warnings.warn(f"The report stays on the disk alone: {error}", RuntimeWarning, stacklevel=2)
        return
    pictures = sorted((folder / PLOTS).glob("*.png"))
    live.log_table(TABLE, rows)
    for picture in pictures[:SHOWN]:
        live.log_image(f"report/{picture.stem}", str(picture))
    live.log_html("report/report", str(page))
    files = [folder / name for name in (*FILES, *TABLES) if (folder / name).is_file()]
    live.log_artifact(f"report-{group}", JOB_TYPE, [*map(str, files), str(folder / PLOTS)])
    live.summary({"cells": len(rows)})
    live.finish(0)
    tracker.share(compared, str(folder))


def comparison(rows: list[Mapping[str, Any]], records: list[RunRecord], group: str) -> Comparison:
    """What ``table.json`` and the records behind it say of the sweep.

    Args:
        rows: of the table, flat.
        records: of the cells, for where a setting stands in a run's configuration.
        group: under which the tracker keeps the sweep.
    """
    plain = [{key: str(it) for key, it in row.items() if "/" not in key} for row in rows]
    own = {"folder", "config_hash", "status"}
    varied = [key for key in differing(plain) if key not in own]
    measures = {
        f"{evaluation}/{name}": metric.higher_is_better
        for run in records
        for evaluation, result in run.results.items()
        for name, metric in result.metrics.items()
        if name in HEADLINES and metric.higher_is_better is not None
    }
    return Comparison(
        title=f"memollm: {', '.join(varied)} ({group})",
        group=group,
        settings={key: _path(key, records) for key in varied},
        measures=measures,
        costs=COSTS,
        table=TABLE,
    )


def _path(key: str, records: list[RunRecord]) -> str:
    """Where a setting stands in a run's configuration: a part's name is one level deeper."""
    for run in records:
        part = run.config.get(key)
        if isinstance(part, Mapping) and "name_" in part:
            return f"{key}.name" if part.get("name") else f"{key}.name_"
    return key


def _records(folder: Path) -> list[RunRecord]:
    found = []
    for place in record.folders_below(folder):
        try:
            found.append(record.load(place))
        except UnreadableRecord:  # the report has counted it
            continue
    return found
