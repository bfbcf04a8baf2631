"""The report, before it is a page: the question, the answer, the evidence and the doubts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memollm.report import influence, origin
from memollm.report.asked import Question, question
from memollm.report.caveats import caveats
from memollm.report.cells import Cells
from memollm.report.evidence import Evidence, gather
from memollm.report.figures import curves, forgetting, heatmap, losses, tradeoff
from memollm.report.figures.figure import Figure
from memollm.report.figures.importance import importance
from memollm.report.figures.style import drawing
from memollm.report.findings import Finding, findings
from memollm.report.influence import Influence
from memollm.report.origin import Fact
from memollm.report.table import Table

FIGURES = 40  # of a section, at most; a page with more is not read


@dataclass(frozen=True)
class Section:
    """Figures that answer one question."""

    key: str
    title: str
    introduction: str
    figures: Sequence[Figure]
    left_out: int = 0

    @property
    def caption(self) -> str:
        """What is to be said once, since all figures say it."""
        captions = {it.caption for it in self.figures}
        return captions.pop() if len(captions) == 1 and len(self.figures) > 1 else ""


@dataclass(frozen=True)
class Document:
    """All that the report says."""

    question: Question
    findings: Sequence[Finding]
    table: Table
    sections: Sequence[Section]
    influences: Sequence[Influence]
    caveats: Sequence[str]
    facts: Sequence[Fact]
    evaluations: dict[str, str]
    hours: float


def compose(cells: Cells, table: Table) -> Document:
    """Read the samples behind ``table``, and draw what they show."""
    evidence = gather(cells, table)
    facts, found = origin.facts(table, evidence), influence.influences(table)
    return Document(
        question(table),
        findings(table),
        table,
        sections(table, evidence, found),
        found,
        caveats(table, evidence, facts, found),
        facts,
        origin.evaluations(table),
        origin.hours(table),
    )


def sections(table: Table, evidence: Evidence, found: Sequence[Influence]) -> list[Section]:
    """The sections that the records have data for."""
    with drawing():
        drawn = [
            Section(
                "cost",
                "Quality against cost",
                "What is lost for what is saved.",
                [*tradeoff.against_bytes(table), *tradeoff.against_speed(table)],
            ),
            Section(
                "parameters",
                "What each parameter does",
                "Every measure over every parameter that varies here.",
                curves.over_parameters(table),
            ),
            Section(
                "importance",
                "Which parameter matters",
                influence.METHOD,
                [it for one in found if (it := importance(one)) is not None],
            ),
            Section(
                "needles",
                "What is found, and where",
                "Shares of what was hidden in a context and asked for.",
                [*losses.by_age(table, evidence), *heatmap.heatmaps(table, evidence)],
            ),
            Section(
                "losses",
                "Loss by position and age",
                "Forgetting shows late in a text, and where a text repeats what is long past.",
                losses.by_bucket(table, evidence),
            ),
            Section(
                "forgetting",
                "Forgetting curves",
                "How fast these memories forget, and, where it was measured, what old context is "
                "worth to the model.",
                [*forgetting.given(table), *forgetting.measured(table)],
            ),
        ]
    return [
        Section(
            it.key,
            it.title,
            it.introduction,
            it.figures[:FIGURES],
            max(len(it.figures) - FIGURES, 0),
        )
        for it in drawn
        if it.figures or (it.key == "importance" and found)
    ]
