"""Facts to hide and to ask for: a set of them shares a wording, so that only the key decides."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from memollm.reference import keys
from memollm.reference.pieces import Piece, Role, fill
from memollm.reference.wordings import FREE, KEYED, KEYLESS, NOTATIONS, RULER, THINGS, Wording

CLOSING = {'"': '"', "<": ">", ">": "</"}  # what follows a value, by what stands before it


@dataclass(frozen=True)
class Fact:
    """A key, its value, and how the pair is stated."""

    key: str
    value: str
    thing: str
    statement: str
    questions: tuple[str, ...]

    def stated(self, filler: str = "", words: Callable[[], str] = str) -> list[Piece]:
        """The statement; ``words`` gives some words of text each time it is called."""
        template = _settle(self.statement, self.thing, filler, words)
        return fill(template, self.key, self.value)

    def asked(self, question: str, filler: str = "", words: Callable[[], str] = str) -> list[Piece]:
        """The question with its answer and what closes it.

        A question's own words carry no loss: who asks gives them. Learning to predict them is
        learning not to answer yet, and a wording never seen is then not answered at all. Nor
        does the key where it stands again: it would be learnt as what to say between any words.
        """
        template = _settle(question, self.thing, filler, words)
        asked = template.replace("{key}", self.key)
        space = "" if template[-1] in '"<> ' else " "
        closing = CLOSING.get(template[-1], ".")
        return [
            (asked, Role.UNPREDICTABLE),
            (space + self.value, Role.ANSWER),
            (closing, Role.TEXT),
        ]


def _settle(template: str, thing: str, filler: str, words: Callable[[], str]) -> str:
    template = re.sub(r"\{words\}", lambda _: words(), template)
    return template.replace("{thing}", thing).replace("{filler}", filler)


def draw_facts(
    rng: np.random.Generator, vocabulary: list[str], count: int, wording: Wording | None = None
) -> list[Fact]:
    """``count`` facts with distinct keys; the family of wordings is drawn when none is given."""
    if wording is None:
        notation = NOTATIONS[0] if rng.random() < 0.3 else NOTATIONS[rng.integers(len(NOTATIONS))]
        families: list[Wording] = [RULER, KEYED, FREE, notation, KEYLESS]
        shares = [0.20, 0.35, 0.15, 0.12, 0.18] if count == 1 else [0.28, 0.40, 0.15, 0.17, 0.0]
        wording = families[rng.choice(5, p=shares)]
    one_statement = rng.random() < 0.6  # otherwise every fact is stated in its own words
    one_thing = rng.random() < 0.8
    pick: Callable[[tuple[str, ...]], str] = lambda of: of[rng.integers(len(of))]  # noqa: E731
    statement, thing = pick(wording.statements), pick(THINGS)
    if wording is KEYLESS and rng.random() < 0.5:  # the classic: "The pass key is ..."
        statement, thing = wording.statements[0], "pass key"
    found: dict[str, Fact] = {}
    while len(found) < count:
        key = keys.key(rng, vocabulary)
        found[key] = Fact(
            key,
            keys.value(rng),
            thing if one_thing else pick(THINGS),
            statement if one_statement else pick(wording.statements),
            wording.questions,
        )
    return list(found.values())
