"""The haystack: running text in tokens, and the places between its sentences."""

from __future__ import annotations

import bisect
import functools
import random
from dataclasses import dataclass

from memollm.evaluation.base import Tokenizer
from memollm.evaluation.text import tokenise

SENTENCE_ENDS = (".", "!", "?", '."', '!"', '?"', ".\u201d", "!\u201d", "?\u201d", "\n")


@dataclass(frozen=True)
class Haystack:
    """A text in tokens. ``breaks``: the token numbers a sentence or paragraph begins at."""

    ids: tuple[int, ...]
    breaks: tuple[int, ...]

    def draw(self, rng: random.Random, tokens: int) -> tuple[int, int]:
        """Start and end of a random piece of so many tokens, beginning with a sentence."""
        fitting = bisect.bisect(self.breaks, len(self.ids) - tokens)
        start = rng.choice(self.breaks[:fitting])
        return start, start + tokens

    def near(self, start: int, stop: int, depth: float) -> int:
        """The break nearest to ``depth`` of the piece; its very start and end are breaks, too."""
        wanted = start + depth * (stop - start)
        inner = self.breaks[
            bisect.bisect(self.breaks, start) : bisect.bisect_left(self.breaks, stop)
        ]
        return min((start, *inner, stop), key=lambda place: abs(place - wanted))


@functools.lru_cache(maxsize=2)
def haystack(text: str, tokenizer: Tokenizer) -> Haystack:
    """``text`` as a haystack for the model that this is the tokenizer of."""
    (ids,) = tokenise((text,), tokenizer)
    ending = {token for token in set(ids) if _ends(tokenizer.decode([token]))}
    breaks = (0, *(i + 1 for i, token in enumerate(ids) if token in ending))
    return Haystack(ids, breaks)


def _ends(piece: str) -> bool:
    return piece.rstrip(" ").endswith(SENTENCE_ENDS)
