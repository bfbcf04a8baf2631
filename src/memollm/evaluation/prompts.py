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


class Mentions(StrEnum):
    """How often a needle is stated, and where: the last time always at its depth.

    So a memory that goes by recency alone has the same chance in all three.
    """

    once = "once"
    massed = "massed"  # twice in a row
    spaced = "spaced"  # at half its depth, too; at depth 0 that is twice in a row

    def depths(self, depth: float) -> tuple[float, ...]:
        """Depths of the statements of a needle.

        >>> [mentions.depths(0.5) for mentions in Mentions]
        [(0.5,), (0.5, 0.5), (0.25, 0.5)]
        """
        match self:
            case Mentions.once:
                return (depth,)
            case Mentions.massed:
                return (depth, depth)
            case Mentions.spaced:
                return (depth / 2, depth)


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
    """Tokens to ask with, and where the answer is stated, in order (first, past last token)."""

    ids: tuple[int, ...]
    needle: Needle
    spans: tuple[tuple[int, int], ...]


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
    mentions: Mentions = Mentions.once,
) -> Prompt:
    """A prompt that takes exactly ``length`` tokens with its questions and their answers.

    Distractors are mentioned as often as what is asked for, so that nothing marks it.

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
    stated = [(needle, at) for needle in hidden for at in mentions.depths(needle.depth)]
    room = length - len(head) - sum(len(hidden[needle]) for needle, _ in stated)
    room -= sum(len(ids) + answer_tokens for ids in questions.values())
    if room < 1:
        raise ValueError(f"{length} tokens leave {room} for the haystack of a {kind} prompt")
    if room > len(haystack.ids):
        raise ValueError(f"{length} tokens need a text of {room}, it has {len(haystack.ids)}")
    start, stop = haystack.draw(rng, room)
    places = [(haystack.near(start, stop, at), needle) for needle, at in stated]
    ids, done = list(head), start
    spans: dict[Needle, tuple[tuple[int, int], ...]] = dict.fromkeys(hidden, ())
    for place, needle in sorted(places, key=lambda it: (it[0], it[1].depth)):
        ids += haystack.ids[done:place]
        spans[needle] += ((len(ids), len(ids) + len(hidden[needle])),)
        ids += hidden[needle]
        done = place
    ids += haystack.ids[done:stop]
    return Prompt(tuple(ids), tuple(Question(questions[n], n, spans[n]) for n in asked))
