"""An example of a task: what is read, what is asked, what is right.

Written as text, in parts. Parts break where words and lines do, so that their tokens, one part
after another, are the tokens of the whole text.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """A piece of text that begins with a blank or begins a line."""

    text: str
    evidence: bool = False  # whether the answer needs it


@dataclass(frozen=True)
class Example:
    """One example; the question ends where the answer begins."""

    context: tuple[Part, ...]
    question: str
    answers: tuple[str, ...]

    @property
    def text(self) -> str:
        """All that is read before the answer."""
        return "".join(part.text for part in self.context) + self.question


@dataclass(frozen=True)
class Prompt:
    """An example in tokens."""

    context: tuple[int, ...]
    question: tuple[int, ...]
    evidence: tuple[tuple[int, int], ...] = ()  # first, past last token of each

    @property
    def ids(self) -> tuple[int, ...]:
        return self.context + self.question

    @property
    def hash(self) -> str:
        """Equal where the tokens are: 16 characters."""
        return prompt_hash(self.ids)


def prompt_hash(ids: tuple[int, ...]) -> str:
    """Equal where the tokens are: the first 16 characters of their numbers' SHA-256.

    >>> prompt_hash((1, 23))
    'dec1a325b2aab707'
    """
    return hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest()[:16]


def lines(texts: list[tuple[str, bool]]) -> tuple[Part, ...]:
    """Texts, and whether they are evidence, as parts, each on a line of its own."""
    return tuple(Part(text + "\n", evidence) for text, evidence in texts)


def sentences(texts: list[tuple[str, bool]]) -> tuple[Part, ...]:
    """The same as parts of one line, a blank between two."""
    last = len(texts) - 1
    return tuple(
        Part(" " * (i > 0) + text + "\n" * (i == last), evidence)
        for i, (text, evidence) in enumerate(texts)
    )
