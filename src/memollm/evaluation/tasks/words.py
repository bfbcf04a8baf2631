"""Words to make examples of.

RULER draws from the lists of the package wonderwords, and from a larger list of English words
where those do not suffice. These come with this package: adjectives and nouns of the reference
model's recipe, words of the bundled novels, and compounds where those do not suffice.
"""

from __future__ import annotations

import functools
import random
import re
import uuid
from collections.abc import Iterator

from memollm.reference import text_path
from memollm.reference.words import ADJECTIVES, NOUNS

# Lower case and of some length: neither names nor the small words that hold any text together.
PLAIN = re.compile(r"(?<![\w'\u2019-])[a-z]{4,10}(?![\w'\u2019-])")


@functools.cache
def plain_words() -> tuple[str, ...]:
    """Distinct single words, some five thousand, in alphabetical order."""
    novels = text_path().read_text(encoding="utf-8")
    return tuple(sorted({*PLAIN.findall(novels), *ADJECTIVES, *NOUNS}))


@functools.cache
def compounds() -> tuple[str, ...]:
    """An adjective and a noun each, with a hyphen between: RULER's keys."""
    return tuple(f"{adjective}-{noun}" for adjective in ADJECTIVES for noun in NOUNS)


def draw_words(rng: random.Random) -> Iterator[str]:
    """All single words in random order, and after them all compounds."""
    for words in (plain_words(), compounds()):
        yield from rng.sample(words, len(words))


def number(rng: random.Random, digits: int = 7) -> str:
    """A number without a leading zero."""
    return str(rng.randrange(10 ** (digits - 1), 10**digits))


def identifier(rng: random.Random) -> str:
    """A version 4 UUID."""
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))
