"""A conversation whose first turns state facts, and whose last one asks for them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from memollm.evaluation.tasks.base import Material, TooShort
from memollm.evaluation.tasks.example import Part
from memollm.evaluation.tasks.niah import NEEDLE
from memollm.evaluation.tasks.words import compounds, number

GIVEN = "User: Please read this. I may ask about it later."
READ = " That is all for now.\nAssistant: I have read it.\n"
LAST = "User: Now I have some questions."
QUESTION = (
    "\nWhat is the special magic number for {key} mentioned in the provided text? The special "
    "magic number for {key} mentioned in the provided text is"
)
DIGITS = 5  # of a number


@dataclass(frozen=True)
class Fact:
    """What is stated in ``turn`` (from 1), by which of its parts (from 0)."""

    key: str
    value: str
    turn: int
    part: int

    @property
    def question(self) -> str:
        """Ends where the answer begins."""
        return QUESTION.format(key=self.key)


@dataclass(frozen=True)
class Conversation:
    """Turns that were had, and facts to be asked for in the next one, in this order."""

    turns: tuple[tuple[Part, ...], ...]
    facts: tuple[Fact, ...]


def converse(
    rng: random.Random,
    length: int,
    turns: int,
    given: Sequence[int],
    facts: int,
    answer_tokens: int,
    material: Material,
) -> Conversation:
    """A conversation that takes ``length`` tokens with all questions and answers, or a few less.

    Every turn before the last is a passage of the text that the user gives to read, of equal
    length; facts stand between its sentences.

    Args:
        rng: draws facts, places and passages.
        length: tokens.
        turns: how many, with the one that asks.
        given: turns that state facts.
        facts: how many each of them states.
        answer_tokens: of each answer.
        material: what passages are cut from.

    Raises:
        TooShort: if a turn has no room for a passage.
    """
    encoder = material.encoder
    keys = iter(rng.sample(compounds(), len(given) * facts))
    stated = [(next(keys), number(rng, DIGITS), turn) for turn in given for _ in range(facts)]
    room = length - len(encoder.opening) - len(stated) * answer_tokens
    room -= encoder.count(LAST, *(QUESTION.format(key=key) for key, _, _ in stated))
    spoken: list[tuple[Part, ...]] = []
    asked: list[Fact] = []
    for turn in range(1, turns):
        needles = {
            Part(" " + NEEDLE.format(things="numbers", key=key, value=value), True): (key, value)
            for key, value, when in stated
            if when == turn
        }
        parts = _turn(rng, list(needles), room // (turns - turn), material)
        room -= encoder.count(*(part.text for part in parts))
        asked += [Fact(*said, turn, parts.index(needle)) for needle, said in needles.items()]
        spoken.append(parts)
    return Conversation((*spoken, (Part(LAST),)), tuple(rng.sample(asked, len(asked))))


def _turn(
    rng: random.Random, needles: list[Part], room: int, material: Material
) -> tuple[Part, ...]:
    encoder, text = material.encoder, material.sentences
    room -= encoder.count(GIVEN, READ, *(needle.text for needle in needles))
    passage: list[Part] = []
    at = rng.randrange(len(text))
    while room > 0:  # backwards, from sentence to sentence
        sentence = text[at % len(text)]
        if encoder.count(" " + sentence) > room:
            sentence = encoder.suffix(sentence, room, before=" ")
            room = 0
        passage[:0] = [Part(" " + sentence)] if sentence else []
        room, at = room - encoder.count(" " + sentence), at - 1
    if not passage:
        raise TooShort("a turn with no room for a passage")
    for needle in needles:
        passage.insert(rng.randint(0, len(passage)), needle)
    return (Part(GIVEN), *passage, Part(READ))
