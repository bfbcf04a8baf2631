"""Common words: the ten that a numbered list repeats more often than the others.

Templates and settings are those of common_words_extraction.py and constants.py of
github.com/NVIDIA/RULER; words come from other lists (see words.py). All of the list is evidence,
so that none of it is marked.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from memollm.evaluation.tasks.base import Material, Task, TooShort
from memollm.evaluation.tasks.example import Example, Part
from memollm.evaluation.tasks.words import draw_words, plain_words

INTRODUCTION = (
    "Below is a numbered list of words. In these words, some appear more often than others. "
    "Memorize the ones that appear most often.\n"
)
QUESTION = (
    "Question: What are the 10 most common words in the above list? Answer: The top 10 words that "
    "appear most often in the list are:"
)
LONG = 4096  # tokens; shorter prompts repeat words less, as in RULER


@dataclass(frozen=True)
class Repeats:
    """How often words stand in a list."""

    common: int
    others: int


@dataclass(frozen=True)
class CommonWords(Task):
    """Ten words, after a solved example."""

    tokens_to_generate: int = 120
    common: int = 10  # words asked for

    @property
    def graded(self) -> bool:
        return True

    def example(self, rng: random.Random, length: int, material: Material) -> Example:
        long = length >= LONG
        shown, shown_words = (Repeats(10, 3), 40) if long else (Repeats(3, 1), 20)
        repeats = Repeats(30, 3) if long else Repeats(6, 1)
        words = rng.sample(plain_words(), shown_words)
        solved = [Part(INTRODUCTION), *_listed(rng, words, self.common, shown), Part(QUESTION)]
        solved += _numbered(words[: self.common], " ")
        head = [*solved, Part(INTRODUCTION)]
        room = self.room(length, material)
        room -= material.encoder.count(QUESTION, *(part.text for part in head))
        words = _fitting(draw_words(rng), self.common, repeats, room, material)
        context = (*head, *_listed(rng, words, self.common, repeats))
        return Example(context, QUESTION, tuple(words[: self.common]))


def _fitting(
    words: Iterator[str], common: int, repeats: Repeats, room: int, material: Material
) -> list[str]:
    """The first of ``words``: as many as fit, repeated and numbered."""
    encoder, found = material.encoder, list[str]()
    number, numbered = itertools.count(1), 1  # a line end more, after the last word
    for word in words:
        times = repeats.common if len(found) < common else repeats.others
        entries = (encoder.count(f" {next(number)}.") for _ in range(times))
        numbered += sum(entries) + times * encoder.count(" " + word)
        if numbered > room:
            if len(found) <= common:
                raise TooShort(f"{room} tokens for a list of words, {common} of them common")
            return found
        found.append(word)
    raise TooShort(f"{len(found)} words, too few to fill {room} tokens")


def _listed(rng: random.Random, words: list[str], common: int, repeats: Repeats) -> Iterator[Part]:
    several = [*words[:common] * repeats.common, *words[common:] * repeats.others]
    rng.shuffle(several)
    return _numbered(several, "")


def _numbered(words: Sequence[str], before: str) -> Iterator[Part]:
    for i, word in enumerate(words, start=1):
        yield Part(f" {i}." if i > 1 else f"{before}{i}.")
        yield Part(f" {word}" + "\n" * (i == len(words)))
