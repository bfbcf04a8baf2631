"""Documents of the bundled tasks, made of the bundled text: the same ones at every call.

lm-eval passes a task's ``metadata`` and all that its own command line was told; what is not about
the documents goes unread.
"""

from __future__ import annotations

import random
from typing import Any

from datasets import Dataset

from memollm.reference import text_path
from memollm.reference.words import ADJECTIVES, NOUNS

NEEDLES = 4  # numbers in a haystack, and answers to choose from
HINT = "One of the special magic numbers for {key} is: {value}."  # RULER's, arXiv:2404.06654


def haystacks(characters: int, documents: int, **unread: Any) -> dict[str, Dataset]:
    """Running text of ``characters`` with magic numbers in its first half, one asked for.

    The other numbers stand in the same text, so that a model that has forgotten which is whose
    is right in one of four. 4 characters are a token, or a little less.
    """
    text, rng, rows = text_path().read_text(encoding="utf-8"), random.Random(0), []
    for _ in range(documents):
        start = rng.randrange(len(text) - characters)
        keys = rng.sample([f"{a}-{n}" for a in ADJECTIVES for n in NOUNS], NEEDLES)
        values = [str(value) for value in rng.sample(range(10_000, 100_000), NEEDLES)]
        asked = rng.randrange(NEEDLES)
        rows.append(
            {
                "text": _hide(text[start : start + characters], keys, values),
                "key": keys[asked],
                "choices": values,
                "answer": asked,
            }
        )
    return {"test": Dataset.from_list(rows)}


def chapters(characters: int, documents: int, **unread: Any) -> dict[str, Dataset]:
    """Pieces of ``characters`` of the text, evenly over it."""
    text = text_path().read_text(encoding="utf-8")
    last = len(text) - characters
    starts = [last * index // max(documents - 1, 1) for index in range(documents)]
    return {"test": Dataset.from_list([{"text": text[s : s + characters]} for s in starts])}


def _hide(text: str, keys: list[str], values: list[str]) -> str:
    """``text`` with a sentence for each key, evenly over its first half, between words."""
    parts, done = [], 0
    for index, (key, value) in enumerate(zip(keys, values, strict=True)):
        place = text.find(" ", len(text) * index // (2 * len(keys)))
        parts += [text[done:place], "\n" + HINT.format(key=key, value=value) + "\n"]
        done = place + 1
    return "".join([*parts, text[done:]])
