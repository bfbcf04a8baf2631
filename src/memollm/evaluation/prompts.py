"""Prompts with needles in them: what is hidden, where it lies, how it is asked for.

Wordings are the field's: the passkey of Mohtashami & Jaggi (2023, arXiv:2305.16300), the magic
numbers of RULER (Hsieh et al., 2024, arXiv:2404.06654). A question ends where the answer begins.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from memollm.evaluation.base import Tokenizer
from memollm.evaluation.haystack import Haystack
from memollm.evaluation.streaming import opening
from memollm.reference.words import ADJECTIVES, NOUNS


class Kind(StrEnum):
    """What is hidden, and what is asked for."""

    passkey = "passkey"  # one number, without a name
    single_key = "single_key"  # one number, asked for by its key; RULER's niah_single
    multi_key = "multi_key"  # the same among distractors with other keys; niah_multikey
    multi_query = "multi_query"  # a key at every depth, asked for one after another


@dataclass(frozen=True)
class Wording:
    """Texts to fill in. Each begins a paragraph, so that tokens do not merge across."""

    introduction: str
    needle: str
    question: str


PASSKEY = Wording(
    "There is an important info hidden inside a lot of irrelevant text. Find it and memorize "
    "it. I will quiz you about the important information there.\n",
    "\nThe pass key is {value}. Remember it. {value} is the pass key.\n",
    "\nWhat is the pass key? The pass key is",
)
MAGIC_NUMBER = Wording(
    "Some special magic numbers are hidden within the following text. Make sure to memorize "
    "it. I will quiz you about the numbers afterwards.\n",
    "\nOne of the special magic numbers for {key} is: {value}.\n",
    "\nWhat is the special magic number for {key} mentioned in the provided text? The special "
    "magic number for {key} mentioned in the provided text is",
)


@dataclass(frozen=True)
class Needle:
    """What is hidden at ``depth``, and asked for unless it is a distractor."""

    key: str
    value: str
    depth: float


@dataclass(frozen=True)
class Question:
    """Tokens to ask with, and where in the prompt the answer stands (first, past last token)."""

    ids: tuple[int, ...]
    needle: Needle
    span: tuple[int, int]


@dataclass(frozen=True)
class Prompt:
    """A haystack with needles, and questions to be put to it in turn."""

    ids: tuple[int, ...]
    questions: tuple[Question, ...]


def draw_needles(
    rng: random.Random, kind: Kind, depths: Sequence[float], digits: int, distractors: int
) -> tuple[list[Needle], list[Needle]]:
    """Needles that are asked for, in the order of asking, and distractors at random depths."""
    places = list(depths)
    rng.shuffle(places)  # so that no depth is always asked for first
    others = distractors if kind is Kind.multi_key else 0
    places += [rng.random() for _ in range(others)]
    values = rng.sample(range(10 ** (digits - 1), 10**digits), len(places))  # no leading zero
    names: list[str] = []
    while len(names) < len(places):
        name = f"{rng.choice(ADJECTIVES)}-{rng.choice(NOUNS)}"
        names += [name] if name not in names else []
    needles = [Needle(*each) for each in zip(names, map(str, values), places, strict=True)]
    return needles[: len(depths)], needles[len(depths) :]


def build(
    rng: random.Random,
    tokenizer: Tokenizer,
    haystack: Haystack,
    kind: Kind,
    length: int,
    needles: tuple[list[Needle], list[Needle]],
    answer_tokens: int,
) -> Prompt:
    """A prompt that takes exactly ``length`` tokens with its questions and their answers.

    Raises:
        ValueError: if the length leaves no room for a haystack, or the text is too short.
    """
    wording = PASSKEY if kind is Kind.passkey else MAGIC_NUMBER

    def encode(template: str, needle: Needle) -> tuple[int, ...]:
        filled = template.format(key=needle.key, value=needle.value)
        return tuple(tokenizer.encode(filled, add_special_tokens=False))

    asked, distractors = needles
    head = opening(tokenizer) + tokenizer.encode(wording.introduction, add_special_tokens=False)
    hidden = {needle: encode(wording.needle, needle) for needle in asked + distractors}
    questions = {needle: encode(wording.question, needle) for needle in asked}
    room = length - len(head) - sum(map(len, hidden.values()))
    room -= sum(len(ids) + answer_tokens for ids in questions.values())
    if room < 1:
        raise ValueError(f"{length} tokens leave {room} for the haystack of a {kind} prompt")
    if room > len(haystack.ids):
        raise ValueError(f"{length} tokens need a text of {room}, it has {len(haystack.ids)}")
    start, stop = haystack.draw(rng, room)
    places = {needle: haystack.near(start, stop, needle.depth) for needle in hidden}
    ids, spans, done = list(head), {}, start
    for needle in sorted(hidden, key=lambda needle: (places[needle], needle.depth)):
        ids += haystack.ids[done : places[needle]]
        spans[needle] = (len(ids), len(ids) + len(hidden[needle]))
        ids += hidden[needle]
        done = places[needle]
    ids += haystack.ids[done:stop]
    return Prompt(tuple(ids), tuple(Question(questions[n], n, spans[n]) for n in asked))
