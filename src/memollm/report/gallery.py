"""``failures.md`` and ``failures.html``: what was lost against the baseline, example by example."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from jinja2 import Environment
from markupsafe import Markup

from memollm import record
from memollm.report.examples import Example, Group
from memollm.report.gallery_page import TEMPLATE
from memollm.report.strip import draw, summary

FILES = ("failures.md", "failures.html")


def write(groups: Sequence[Group], folder: Path) -> list[Path]:
    """Leave both files in ``folder``."""
    paths = [folder / name for name in FILES]
    record.replace(paths[0], markdown(groups))
    record.replace(paths[1], page(groups))
    return paths


def page(groups: Sequence[Group]) -> str:
    """The gallery as one HTML file, which loads nothing; every text is escaped."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    picture = lambda example: Markup(draw(example))  # noqa: E731 - drawn from numbers alone
    template = environment.from_string(TEMPLATE)
    return template.render(groups=groups, counted=counted, picture=picture, summary=summary)


def markdown(groups: Sequence[Group]) -> str:
    """The gallery in words."""
    return "\n".join(["# Lost and won against the baseline", "", *_lines(groups)])


def counted(group: Group) -> str:
    """How many were lost and won, in one line."""
    if group.refused:
        return f"not paired with the baseline: {group.refused}"
    told = f"{group.pairs} pairs: {group.lost_in_all} lost, {group.won_in_all} won"
    shown = len(group.lost) + len(group.won)
    more = "" if shown == group.lost_in_all + group.won_in_all else f"; {shown} are shown"
    return told + more


def _lines(groups: Sequence[Group]) -> Iterator[str]:
    if not groups:
        yield "No cell has a baseline to be compared with, and answers to compare.\n"
    for group in groups:
        yield f"## {group.evaluation}: {code(group.cell)}\n"
        yield f"{counted(group)}.\n"
        for word, examples in (("Lost", group.lost), ("Won", group.won)):
            for example in examples:
                yield f"### {word}: {code(example.id)}\n"
                yield from _example(example)
                yield ""


def _example(example: Example) -> Iterator[str]:
    if example.question is not None:
        yield f"- question: {code(example.question)}"
    yield f"- expected: {code(example.expected)}"
    yield f"- with this memory: {code(example.answer)}"
    yield f"- baseline: {code(example.baseline_answer)}"
    if example.evidence:
        yield f"- {summary(example)}"


def code(text: str) -> str:
    r"""``text`` as Markdown code, whatever is in it; line ends are shown.

    >>> code("a`b"), code("x"), code("one\ntwo")
    ('`` a`b ``', '`x`', '`one↵two`')
    """
    text = text.replace("\r\n", "\n").replace("\n", "↵") or " "
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    return f"{fence} {text} {fence}" if longest else f"{fence}{text}{fence}"
