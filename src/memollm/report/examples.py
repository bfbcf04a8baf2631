"""The examples that a memory cost, and those it won: what was asked, and when it was forgotten."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from memollm.report.cells import Cell, Cells
from memollm.report.inert import clipped, visible
from memollm.report.paired import Samples
from memollm.report.settings import differing, settings
from memollm.statistics.pairing import Outcome, Pair, Unpairable, match, outcome_of

SHOWN = 12  # of a cell's examples of one kind; further ones are counted


@dataclass(frozen=True)
class Fate:
    """What one memory layer did with the tokens that the answer needs."""

    layer: int  # index among the memory layers
    forgotten_at: Sequence[int | None]  # tokens seen then, by needed token; None: still kept
    held: float | None = None  # share of all tokens that the layer held in the end

    @property
    def kept(self) -> int:
        return sum(when is None for when in self.forgotten_at)

    @property
    def died(self) -> tuple[int, int] | None:
        """Tokens seen when the first and the last needed token went."""
        whens = [when for when in self.forgotten_at if when is not None]
        return (min(whens), max(whens)) if whens else None


@dataclass(frozen=True)
class Example:
    """One question, answered with a memory and without."""

    id: str
    question: str | None
    expected: str
    answer: str
    baseline_answer: str
    seen: int  # tokens of the longest row, in the end
    evidence: Sequence[tuple[int, int]]  # first, past last token of what the answer needs
    fates: Sequence[Fate]  # one for each memory layer; none where it was not recorded

    @property
    def needed(self) -> list[int]:
        """Positions of the needed tokens."""
        return [token for start, stop in self.evidence for token in range(start, stop)]


@dataclass(frozen=True)
class Group:
    """One cell against its baseline, in one evaluation."""

    cell: str  # what sets it apart
    evaluation: str
    pairs: int
    lost: Sequence[Example]  # the baseline was right, or scored more; those that are shown
    won: Sequence[Example]
    lost_in_all: int
    won_in_all: int
    refused: str = ""  # why its samples could not be paired


def collect(cells: Cells, limit: int = SHOWN) -> list[Group]:
    """Lost and won examples of every cell with a baseline, at most ``limit`` of either kind."""
    samples = Samples()
    texts = [settings(cell.record.config) for cell in cells.cells]
    apart = differing(texts)
    groups = []
    for cell, told in zip(cells.cells, texts, strict=True):
        named = {key: told[key] for key in apart if key in told}
        name = " ".join(f"{key}={clipped(visible(text))}" for key, text in named.items())
        for evaluation in cell.record.results:
            baseline = cells.baseline_of(cell, evaluation)
            if not cell.is_baseline and baseline is not None:
                groups += _group(name, cell, baseline, evaluation, samples, limit)
    return groups


def _group(
    name: str, cell: Cell, baseline: Cell, evaluation: str, samples: Samples, limit: int
) -> Iterator[Group]:
    try:
        matched = match(samples.of(cell, evaluation), samples.of(baseline, evaluation))
    except Unpairable as error:
        yield Group(name, evaluation, 0, [], [], 0, 0, str(error))
        return
    outcome = outcome_of(matched.pairs)
    if outcome is not None and outcome is not Outcome.nll:
        changed = sorted(matched.pairs, key=lambda pair: -abs(_change(pair, outcome)))
        lost = [_example(pair) for pair in changed if _change(pair, outcome) < 0]
        won = [_example(pair) for pair in changed if _change(pair, outcome) > 0]
        pairs, shown = len(matched.pairs), (lost[:limit], won[:limit])
        yield Group(name, evaluation, pairs, *shown, len(lost), len(won))


def _change(pair: Pair, outcome: Outcome) -> float:
    return float(pair.ours[outcome]) - float(pair.baseline[outcome])


def _example(pair: Pair) -> Example:
    ours = pair.ours
    memory: Mapping[str, Any] = dict(ours.get("memory") or {})
    evidence = [(int(start), int(stop)) for start, stop in ours.get("evidence") or ()]
    seen = int(memory.get("seen_tokens") or max((stop for _, stop in evidence), default=0))
    forgotten: Sequence[Sequence[Any]] = ours.get("forgotten_evidence", [])
    held = [kept / seen for kept in memory.get("kept_tokens", ())] if seen else []
    return Example(
        id=visible(str(ours["id"])),
        question=None if ours.get("question") is None else _text(ours["question"]),
        expected=_text(ours.get("expected", "")),
        answer=_text(ours.get("answer", "")),
        baseline_answer=_text(pair.baseline.get("answer", "")),
        seen=seen,
        evidence=evidence,
        fates=[
            Fate(
                layer,
                [None if fate is None else int(fate[1]) for fate in tokens],
                held[layer] if layer < len(held) else None,
            )
            for layer, tokens in enumerate(forgotten)
        ],
    )


def _text(value: object) -> str:
    """Tasks with several answers list them."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        text = ", ".join(map(str, value))
    else:
        text = str(value)
    return "\n".join(map(visible, text.split("\n")))
