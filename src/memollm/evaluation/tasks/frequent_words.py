"""Frequent words: the three that stand most often in a coded text, after its dots.

Templates and settings are those of freq_words_extraction.py and constants.py of
github.com/NVIDIA/RULER: words of six letters, their frequencies a zeta distribution's, the most
frequent one replaced by dots. Here more dots may follow, so that the length is met. All of the
text is evidence, so that none of it is marked.
"""

from __future__ import annotations

import bisect
import math
import random
import string
from dataclasses import dataclass

from memollm.evaluation.tasks.base import Material, Task, TooShort
from memollm.evaluation.tasks.example import Example, Part

INTRODUCTION = (
    "Read the following coded text and track the frequency of each coded word. Find the three most "
    "frequently appeared coded words."
)
QUESTION = (
    "Question: Do not provide any explanation. Please ignore the dots '....'. What are the three "
    "most frequently appeared words in the above coded text? Answer: According to the coded text "
    "above, the three most frequently appeared words are:"
)
DOTS = "..."
LETTERS = 6  # of a coded word
ASKED = slice(1, 4)  # ranks of the words asked for; rank 0 are the dots
TOKENS_A_WORD = 50  # of the prompt, for each word of the vocabulary
ZETA = math.pi**2 / 6  # Riemann's zeta at 2, the exponent of the distribution


@dataclass(frozen=True)
class FrequentWords(Task):
    """Three words of a language nobody speaks."""

    tokens_to_generate: int = 50

    @property
    def graded(self) -> bool:
        return True

    def example(self, rng: random.Random, length: int, material: Material) -> Example:
        encoder = material.encoder
        words = [DOTS, *_vocabulary(rng, (length - self.tokens_to_generate) // TOKENS_A_WORD - 1)]
        room = self.room(length, material) - encoder.count(INTRODUCTION, QUESTION) - 1  # line end
        costs = [encoder.count(" " + word) for word in words]

        def cost(total: int) -> int:
            return sum(map(int.__mul__, _counts(total, len(words)), costs))

        total = bisect.bisect_right(range(max(room, 0) * 2), room, key=cost) - 1
        counts = _counts(total, len(words))
        if len(words) <= ASKED.stop or counts[ASKED.stop - 1] <= counts[ASKED.stop]:
            raise TooShort(f"{max(room, 0)} tokens of coded text: no three words stand out")
        text = [word for word, times in zip(words, counts, strict=True) for _ in range(times)]
        text += [DOTS] * ((room - cost(total)) // costs[0])
        rng.shuffle(text)
        coded = [Part(" " + word) for word in text[:-1]] + [Part(f" {text[-1]}\n")]
        return Example((Part(INTRODUCTION), *coded), QUESTION, tuple(words[ASKED]))


def _vocabulary(rng: random.Random, size: int) -> list[str]:
    words: dict[str, None] = {}  # in the order drawn
    while len(words) < size:
        words["".join(rng.choices(string.ascii_lowercase, k=LETTERS))] = None
    return list(words)


def _counts(total: int, words: int) -> list[int]:
    """How often each rank stands among ``total`` words drawn from the distribution, rounded down.

    >>> _counts(100, 5)
    [60, 15, 6, 3, 2]
    """
    return [int(total * rank**-2 / ZETA) for rank in range(1, words + 1)]
