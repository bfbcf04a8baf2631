"""What came out, in sentences made from the numbers alone: one for each method and measure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from memollm.report import methods
from memollm.report.inert import visible
from memollm.report.notes import which
from memollm.report.paired import SHARE
from memollm.report.table import Column, Entry, Row, Table
from memollm.report.wording import chance, difference, interval, lines, number

NOISE = "aa_noise"  # metric: deviation from 1 below which a ratio of speeds is noise


class Verdict(StrEnum):
    worse = "worse"
    better = "better"
    mixed = "mixed"
    unresolved = "not resolved"
    described = ""  # no comparison


@dataclass(frozen=True)
class Finding:
    """One sentence, and what it comes down to."""

    text: str
    verdict: Verdict


def findings(table: Table) -> list[Finding]:
    """The untouched model; then each method against it; then what is cheapest and fastest."""
    return [*_untouched(table), *_compared(table), *_smallest(table), *_fastest(table)]


def _untouched(table: Table) -> Iterator[Finding]:
    for row in methods.baselines(table):
        told = [
            f"{methods.heading(column)} {lines(entry)[0]}"
            for column in methods.quality(table)
            if (entry := row.entries.get(column)) is not None
        ]
        if told:
            name = " ".join(
                f"{key}={row.settings[key]}"
                for key in ("model", "seed")
                if key in table.settings and key in row.settings
            )
            who = f"The untouched model ({visible(name)})" if name else "The untouched model"
            yield Finding(f"{who}: {', '.join(told)}.", Verdict.described)


def _compared(table: Table) -> Iterator[Finding]:
    for column in methods.quality(table):
        for name, rows in methods.methods(table).items():
            judged = [(row, row.entries[column]) for row in rows if column in row.entries]
            paired = [(row, it) for row, it in judged if it.p is not None and it.paired is not None]
            if paired:
                yield _sentence(table, column, name, paired, len(judged) - len(paired))
            elif judged:
                yield Finding(
                    f"{methods.heading(column)}: {name} cannot be compared with the untouched "
                    f"model prompt by prompt ({_why(judged)}).",
                    Verdict.unresolved,
                )


def _why(judged: Sequence[tuple[Row, Entry]]) -> str:
    reasons = {it.unpaired or "no baseline was measured": None for _, it in judged}
    return "; ".join(reasons)


def _sentence(
    table: Table, column: Column, name: str, paired: Sequence[tuple[Row, Entry]], left_out: int
) -> Finding:
    worse = [(row, it) for row, it in paired if it.better is False]
    better = [(row, it) for row, it in paired if it.better is True]
    start = f"{methods.heading(column)}: {name}"
    if len(paired) == 1:
        _, it = paired[0]
        verdict = _verdict(bool(worse), bool(better))
        word = f"is {verdict}" if it.resolved else "makes no resolved difference"
        end = f" {word} by" if it.resolved else f" {word}:"
        text = f"{start}{end} {_told(it)}."
    else:
        clauses = []
        for word, some in (("worse", worse), ("better", better)):
            if some:
                row, it = max(some, key=lambda pair: abs(pair[1].delta or 0))
                most = f"most {_told(it)} with {which(table, row)}"
                clauses.append(f"{word} in {len(some)} of {len(paired)} cells, {most}")
        rest = len(paired) - len(worse) - len(better)
        if rest:
            clauses.append(_open([pair for pair in paired if pair[1].better is None], len(paired)))
        text = f"{start} is {'; '.join(clauses)}." if worse or better else f"{start}: {clauses[0]}."
    if left_out:
        text += f" {left_out} could not be paired."
    return Finding(text, _verdict(bool(worse), bool(better)))


def _open(some: Sequence[tuple[Row, Entry]], cells: int) -> str:
    """What is said where nothing is resolved: not that there is nothing."""
    if len(some) < cells:
        return f"no difference is resolved in {len(some)}"
    it = max((it for _, it in some), key=lambda it: abs(it.delta or 0))
    return f"no difference is resolved in any of {cells} cells; the largest is {_told(it)}"


def _verdict(worse: bool, better: bool) -> Verdict:
    if worse and better:
        return Verdict.mixed
    return Verdict.worse if worse else Verdict.better if better else Verdict.unresolved


def _smallest(table: Table) -> Iterator[Finding]:
    """The smallest cache at no loss that any interval shows, and what may be hidden in them."""
    kept = []
    for row in (it for some in methods.methods(table).values() for it in some):
        share = methods.bytes_share(row)
        paired = [it for it in row.entries.values() if it.paired is not None]
        lost = any(_shows_loss(it) for it in paired)
        if share is not None and share < 1 and paired and not lost:
            kept.append((share, row))
    if not kept:
        return
    share, row = min(kept, key=lambda it: it[0])
    hidden = [
        f"{_worst(it)} in {methods.heading(column)}"
        for column, it in row.entries.items()
        if it.paired is not None and it.paired.interval is not None and _worst(it)
    ]
    doubt = f" They still allow for {', '.join(hidden)}." if hidden else ""
    yield Finding(
        f"Smallest cache with no loss in any 95% interval: {share:.0%} of the untouched model's "
        f"bytes, {which(table, row)}.{doubt}",
        Verdict.described,
    )


def _shows_loss(it: Entry) -> bool:
    """Whether its interval holds losses alone, resolved among all comparisons or not."""
    assert it.paired is not None
    low, high = it.paired.interval or (it.paired.value, it.paired.value)
    return high < 0 if it.metrics[0].higher_is_better else low > 0


def _worst(it: Entry) -> str:
    """The end of the interval that is a loss; nothing where none is."""
    assert it.paired is not None and it.paired.interval is not None
    low, high = it.paired.interval
    end = low if it.metrics[0].higher_is_better else high
    loss = end < 0 if it.metrics[0].higher_is_better else end > 0
    factor = 100.0 if it.metrics[0].unit == SHARE else 1.0
    points = " points" if factor == 100 else ""
    return f"{number(factor * end, abs(factor * end) / 5) if loss else ''}{points if loss else ''}"


def _fastest(table: Table) -> Iterator[Finding]:
    column = methods.speed(table)
    ratios = [
        (it, row)
        for some in methods.methods(table).values()
        for row in some
        if (it := row.entries.get(column) if column else None) and math.isfinite(it.value)
    ]
    if not ratios:
        return
    best, row = max(ratios, key=lambda it: it[0].value)
    noise = _noise(row)
    if noise is None:
        doubt, verdict = "", Verdict.described
    elif abs(best.value - 1) <= noise:
        doubt = f"; the check of the clock alone deviates by {noise:.2g}: not resolved"
        verdict = Verdict.unresolved
    else:
        doubt = f"; beyond the noise of the clock, {noise:.2g}"
        verdict = Verdict.better if best.value > 1 else Verdict.worse
    of = f" of {len(ratios)} cells" if len(ratios) > 1 else ""
    yield Finding(
        f"Decoding: the fastest{of} runs at {lines(best)[0]} times the untouched model's speed "
        f"({which(table, row)}{doubt}).",
        verdict,
    )


def _noise(row: Row) -> float | None:
    found = [
        it.metrics[NOISE].value
        for cell in row.cells
        for it in cell.record.results.values()
        if NOISE in it.metrics and math.isfinite(it.metrics[NOISE].value)
    ]
    return max(found, default=None)


def _told(it: Entry) -> str:
    assert it.paired is not None and it.p is not None
    factor = 100.0 if it.metrics[0].unit == SHARE else 1.0
    points = " points" if factor == 100 else ""
    distance = difference(it.paired, factor) + points + interval(it.paired, factor)
    return f"{distance}, {chance(it.p)}"
