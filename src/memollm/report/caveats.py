"""What a reader must know before believing the numbers: failures, noise, mixtures, gaps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from memollm.record import Status
from memollm.report import methods
from memollm.report.evidence import Evidence
from memollm.report.findings import NOISE
from memollm.report.inert import clipped, visible
from memollm.report.influence import HALF, Influence
from memollm.report.notes import details, shortened, which
from memollm.report.origin import Fact
from memollm.report.table import Row, Table
from memollm.statistics.signs import FEWEST

DEAD = "DeadMethodError"
MATTERING = ("model", "device", "processor", "GPU", "threads", "commit", "source")  # once mixed
NAMED = 3  # cells that are named; further ones are counted


def caveats(
    table: Table, evidence: Evidence, facts: Sequence[Fact], found: Sequence[Influence]
) -> list[str]:
    """One sentence each, the gravest first."""
    return [
        *_missing(table),
        *(it.rstrip(".") for it in shortened(table)),
        *_limited(table),
        *_mixed(facts),
        *_not_numbers(table),
        *_idle(table),
        *_noise(table, found),
        *_few(table),
        *_samples(table, evidence),
        *_reused(table),
        *details(table),
    ]


def _missing(table: Table) -> Iterator[str]:
    for row in table.unfinished:
        run = row.cell.record
        if run.error is not None and run.error.type == DEAD:
            why = clipped(visible(run.error.message), 400)
            yield f"Dead method: {which(table, row)}: {why}"
        elif run.error is not None:
            why = clipped(visible(run.error.message), 400)
            yield f"Failed: {which(table, row)}: {run.error.type}: {why}"
        else:
            yield f"Not finished: {which(table, row)} is still running, or was killed"
    if table.unreadable:
        plural = "s" if table.unreadable > 1 else ""
        yield f"{table.unreadable} record.json could not be read: the run{plural} is left out"


def _limited(table: Table) -> Iterator[str]:
    rows = [row for row in table.rows if row.cell.record.config.get("limit")]
    if rows:
        values = ", ".join(dict.fromkeys(str(it.cell.record.config["limit"]) for it in rows))
        yield (
            f"Limited: {len(rows)} cells measured the first {clipped(visible(values))} samples "
            "of each evaluation alone"
        )


def _mixed(facts: Sequence[Fact]) -> Iterator[str]:
    told = []
    same_code = any(fact.name == "source" and not fact.mixed for fact in facts)
    for fact in facts:
        matters = fact.name in MATTERING or fact.name.endswith(" version")
        if fact.name == "commit" and same_code:
            continue  # what differs decides no result
        if fact.mixed and matters:
            values = ", ".join(f"{visible(value)} ({n})" for value, n in fact.values.items())
            told.append(f"{fact.name} {clipped(values, 300)}")
    if told:
        yield (
            f"Mixed: {'; '.join(told)}. Differences from a baseline are taken under like "
            "conditions only; rows need not be comparable with one another"
        )


def _not_numbers(table: Table) -> Iterator[str]:
    for row in table.rows:
        odd = [
            methods.heading(column)
            for column, it in row.entries.items()
            if not math.isfinite(it.value)
        ]
        if odd:
            yield (
                f"No finite number: {which(table, row)}: {', '.join(odd)}; left out "
                "of figures and sentences"
            )


def _idle(table: Table) -> Iterator[str]:
    """Memories that changed nothing that was measured, nor freed a byte."""
    idle = []
    for row in (it for some in methods.methods(table).values() for it in some):
        paired = [it.paired for it in row.entries.values() if it.paired is not None]
        share = methods.bytes_share(row)
        if paired and all(it.better == it.worse == 0 for it in paired) and (share or 1) >= 1:
            idle.append(row)
    if idle:
        yield (
            f"No effect: {_named(table, idle)} changed no sample and freed no byte: at these "
            "settings nothing was forgotten"
        )


def _noise(table: Table, found: Sequence[Influence]) -> Iterator[str]:
    noises = [
        it.metrics[NOISE].value
        for row in table.rows
        for cell in row.cells
        for it in cell.record.results.values()
        if NOISE in it.metrics
    ]
    finite = [it for it in noises if math.isfinite(it)]
    if finite:
        yield (
            f"Speed: two untouched models against each other deviate from 1 by up to "
            f"{max(finite):.2g} (median {sorted(finite)[len(finite) // 2]:.2g}); ratios nearer to "
            "1 than that are noise"
        )
    for it in found:
        if it.noise is not None and it.noise > HALF:
            yield (
                f"{methods.heading(it.column)}: cells differ little more than their standard "
                "errors explain; measure more prompts before choosing between them"
            )


def _few(table: Table) -> Iterator[str]:
    few: dict[str, int] = {}
    smallest: dict[str, float] = {}
    for row in table.rows:
        for column, it in row.entries.items():
            if it.paired is not None and it.paired.prompts < FEWEST:
                few[methods.heading(column)] = it.paired.prompts
        for name, detectable in row.cell.record.detectable.items():
            least = detectable.get("smallest") if isinstance(detectable, Mapping) else None
            if isinstance(least, (int, float)) and not row.cell.is_baseline:
                smallest[name] = max(float(least), smallest.get(name, 0.0))
    for heading, n in few.items():
        yield f"{heading}: {n} prompts can resolve nothing at the 5% level; {FEWEST} are the least"
    for name, least in smallest.items():
        yield (
            f"{name}: with so many prompts a difference had to reach {least:.2g} to be resolved "
            "four times in five"
        )
    if all(len(row.cells) == 1 for row in table.rows) and table.rows:
        yield "One seed a cell: intervals are over prompts, not over seeds"


def _samples(table: Table, evidence: Evidence) -> Iterator[str]:
    for pairs, words in (
        (evidence.empty, "no samples were found, only totals"),
        (evidence.unknown, "samples could not be used"),
    ):
        by_evaluation: dict[str, list[Row]] = {}
        for index, name in pairs:
            by_evaluation.setdefault(name, []).append(table.rows[index])
        for name, rows in by_evaluation.items():
            yield f"{visible(name)}: {words}: {_named(table, rows)}"


def _reused(table: Table) -> Iterator[str]:
    cells = [cell.record for row in table.rows for cell in row.cells]
    reused = sum(bool(it.reused_from) for it in cells)
    resumed = sum(it.resumed_from is not None for it in cells)
    if reused:
        yield f"{reused} cells took results over from earlier runs of the same hash"
    if resumed:
        yield f"{resumed} cells went on with a run that had been stopped"
    partly = [
        row
        for row in table.rows
        if any(cell.record.status != Status.finished for cell in row.cells)
    ]
    if partly:
        yield f"Partial: {_named(table, partly)} did not finish; what they measured is shown"
    lost = [row for row in table.rows if any(cell.record.tracker_error for cell in row.cells)]
    if lost:
        yield f"The tracker failed for {_named(table, lost)}; the records are complete"


def _named(table: Table, rows: Sequence[Row]) -> str:
    told = "; ".join(which(table, row) for row in rows[:NAMED])
    more = len(rows) - NAMED
    return f"{told} and {more} more" if more > 0 else told
