"""Text into tokens, part by part, and how much of a text fits.

A haystack is tokenised once for all the prompts that are cut from it: the tokens of a part are
kept for the next prompt that has it.
"""

from __future__ import annotations

import functools

from memollm.evaluation.base import Tokenizer
from memollm.evaluation.streaming import opening
from memollm.evaluation.tasks.example import Example, Prompt

KEPT = 1 << 16  # parts whose tokens are kept
BEFORE = "\n"  # what a part is tokenised after


class Encoder:
    """Parts of text as the tokens they are inside a longer one.

    A tokenizer may put something before every text (sentencepiece a blank): each part is
    tokenised after a line end, whose tokens are then taken off.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.opening = tuple(opening(tokenizer))
        self._before = tokenizer.encode(BEFORE, add_special_tokens=False)
        self.ids = functools.lru_cache(maxsize=KEPT)(self._ids)

    def count(self, *texts: str) -> int:
        """Tokens of some parts."""
        return sum(len(self.ids(text)) for text in texts)

    def suffix(self, text: str, room: int, before: str = "", after: str = "") -> str:
        """The longest end of ``text`` that takes ``room`` tokens at most, found by bisection.

        Args:
            text: what is cut, at its front.
            room: tokens for it, with ``before`` and ``after``.
            before: what will stand directly before it.
            after: what will stand directly after it.
        """
        found, low, high = "", 0, len(text)
        while low < high:
            start = (low + high) // 2
            tried = text[start:].lstrip()
            if len(self._ids(before + tried + after)) <= room:
                found, high = tried, start
            else:
                low = start + 1
        return found

    def prompt(self, example: Example) -> Prompt:
        """The example in tokens, with what the tokenizer opens a text with."""
        ids: list[int] = list(self.opening)
        spans: list[tuple[int, int]] = []
        for part in example.context:
            new = self.ids(part.text)
            if part.evidence:
                spans.append((len(ids), len(ids) + len(new)))
            ids += new
        return Prompt(tuple(ids), self.ids(example.question), tuple(spans))

    def _ids(self, text: str) -> tuple[int, ...]:
        after = self.tokenizer.encode(BEFORE + text, add_special_tokens=False)
        if after[: len(self._before)] == self._before:
            return tuple(after[len(self._before) :])
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))
