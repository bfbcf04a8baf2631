"""What a task is: examples of any length, and how their answers are scored."""

from __future__ import annotations

import abc
import functools
import random
import re
from dataclasses import dataclass

from memollm.evaluation.tasks.encoder import Encoder
from memollm.evaluation.tasks.example import Example

SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[.!?][\"'\u201d\u2019)])\s+")


@dataclass(frozen=True)
class Material:
    """What examples are made of."""

    encoder: Encoder
    text: str  # for haystacks

    @functools.cached_property
    def sentences(self) -> tuple[str, ...]:
        """The text's sentences, on one line as in RULER; told by their punctuation."""
        on_one_line = " ".join(self.text.split())
        return tuple(part for part in SENTENCE_END.split(on_one_line) if part)


class TooShort(ValueError):
    """A length that leaves no room for what a task needs."""


@dataclass(frozen=True)
class Task(abc.ABC):
    """A generator of examples; its fields say how hard they are."""

    tokens_to_generate: int  # for the answer, as published

    @abc.abstractmethod
    def example(self, rng: random.Random, length: int, material: Material) -> Example:
        """An example whose prompt and answer take ``length`` tokens at most, and 98 % at least.

        Raises:
            TooShort: if the length has no room for it.
        """

    @property
    @abc.abstractmethod
    def graded(self) -> bool:
        """Whether a score may lie between 0 and 1."""

    def score(self, answer: str, expected: tuple[str, ...]) -> float:
        """Share of the expected answers in what was said."""
        return match_all(answer, expected)

    def room(self, length: int, material: Material) -> int:
        """Tokens for the prompt's text."""
        return length - self.tokens_to_generate - len(material.encoder.opening)


def match_all(answer: str, expected: tuple[str, ...]) -> float:
    """RULER's ``string_match_all``: the share of ``expected`` that the answer contains.

    >>> match_all("the numbers are 12 and 34.", ("12", "35"))
    0.5
    """
    said = _plain(answer)
    return sum(_plain(each) in said for each in expected) / len(expected)


def match_part(answer: str, expected: tuple[str, ...]) -> float:
    """RULER's ``string_match_part``: 1 if the answer contains any of ``expected``, else 0.

    >>> match_part("It was in Paris.", ("paris", "the capital of France"))
    1.0
    """
    said = _plain(answer)
    return float(any(_plain(each) in said for each in expected))


def _plain(text: str) -> str:
    """Lower case, control characters as line ends, as RULER's ``postprocess_pred``."""
    return re.sub(r"[\x00-\x1f]", "\n", text.strip()).strip().lower()
