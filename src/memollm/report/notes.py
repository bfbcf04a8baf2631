"""What a reader has to know beside the numbers: how they were compared, and what was left out."""

from __future__ import annotations

from collections.abc import Iterator

from memollm.report.inert import clipped, visible
from memollm.report.paired import SHARE
from memollm.report.table import ALPHA, Row, Table
from memollm.report.wording import number
from memollm.statistics.corrections import Correction
from memollm.statistics.intervals import CONFIDENCE, RESAMPLES, SEED

MESSAGE = 600  # characters of an error
CORRECTED = {Correction.holm: "Holm", Correction.bh: "Benjamini-Hochberg"}


def method(table: Table) -> str:
    """How differences were found; nothing where there are none."""
    if not table.comparisons:
        return ""
    tests = {it.paired.test: None for row in table.rows for it in row.entries.values() if it.paired}
    plural = "s" if table.comparisons > 1 else ""
    family = f"{CORRECTED[table.correction]} correction for {table.comparisons} comparison{plural}"
    return (
        f"With a value, its difference from the baseline on the same prompts, and a "
        f"{CONFIDENCE:.0%} interval of that. Not resolved: p > {ALPHA:.0%} after {family}. "
        f"Found by {'; '.join(tests)} ({RESAMPLES} resamples of prompts, seed {SEED})."
    )


def remarks(table: Table) -> list[str]:
    """Pairs that were refused or left over, and what several seeds were."""
    return [*shortened(table), *details(table)]


def details(table: Table) -> list[str]:
    """Remarks on single numbers."""
    return [*_pairing(table), *_spreads(table)]


def unfinished(table: Table) -> list[str]:
    """One line for each cell that has not finished, and one for files that could not be read."""
    lines = []
    for row in table.unfinished:
        run = row.cell.record
        why = (
            f"{run.error.type}: {clipped(visible(run.error.message), MESSAGE)}"
            if run.error
            else "still running, or killed"
        )
        lines.append(f"{run.status}: {which(table, row)}: {why} ({row.cell.folder})")
    if table.unreadable:
        lines.append(f"{table.unreadable} record.json could not be read")
    return lines


def which(table: Table, row: Row) -> str:
    """What sets a row apart from the others."""
    told = {key: row.settings[key] for key in table.settings if key in row.settings}
    return " ".join(f"{key}={clipped(visible(text))}" for key, text in told.items())


def shortened(table: Table) -> Iterator[str]:
    """That runs measured less than their evaluations say."""
    runs = [cell.record for row in table.rows for cell in row.cells]
    if any(run.config.get("debug") for run in runs):
        yield "Measured with debug=true: short and few, to see that it works; no findings."


def _pairing(table: Table) -> Iterator[str]:
    for row in table.rows:
        for column, it in row.entries.items():
            about = f"{which(table, row)}, {column.evaluation} {column.metric}"
            if it.unpaired:
                yield f"{about}: not paired with its baseline: {it.unpaired}"
            elif it.paired and it.paired.leftover:
                yield f"{about}: {it.paired.leftover} samples without a partner were left out"


def _spreads(table: Table) -> Iterator[str]:
    for row in table.rows:
        for column, it in row.entries.items():
            if len(it.metrics) > 1:
                factor = 100 if it.metrics[0].unit == SHARE else 1
                values = ", ".join(number(factor * metric.value) for metric in it.metrics)
                yield (
                    f"{which(table, row)}, {column.evaluation} {column.metric}: mean of "
                    f"{len(it.metrics)} seeds ({values}); their pairs are pooled"
                )
