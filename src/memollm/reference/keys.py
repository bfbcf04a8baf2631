"""What is hidden and asked for: keys and values, from plain words to random strings."""

from __future__ import annotations

import string
import uuid

import numpy as np

from memollm.reference.words import ADJECTIVES, NOUNS

_LETTERS = list(string.ascii_lowercase)
_LETTERS_AND_DIGITS = list(string.ascii_lowercase + string.digits)


def number(rng: np.random.Generator, digits: int) -> str:
    """Digits without a leading zero, as RULER draws its numbers."""
    return str(rng.integers(10 ** (digits - 1), 10**digits))


def random_string(rng: np.random.Generator) -> str:
    """A string no text contains, several tokens long."""
    shape = rng.random()
    if shape < 0.35:
        return "".join(rng.choice(_LETTERS, rng.integers(5, 10)))
    if shape < 0.6:
        return "".join(rng.choice(_LETTERS_AND_DIGITS, rng.integers(6, 11)))
    if shape < 0.75:
        return "".join(rng.choice(list(string.ascii_uppercase), 5))
    if shape < 0.9:
        parts = ("".join(rng.choice(_LETTERS_AND_DIGITS, 4)) for _ in range(2))
        return "-".join(parts)
    return str(uuid.UUID(bytes=rng.bytes(16)))


def key(rng: np.random.Generator, vocabulary: list[str]) -> str:
    """A name to ask by. ``vocabulary``: words of the training text, for keys beyond the list."""
    kind = rng.random()
    adjective, noun = ADJECTIVES[rng.integers(len(ADJECTIVES))], NOUNS[rng.integers(len(NOUNS))]
    if kind < 0.20:
        return noun
    if kind < 0.26:
        return f"{adjective} {noun}"
    if kind < 0.50:
        return f"{adjective}-{noun}"  # as RULER's keys
    if kind < 0.62:
        return vocabulary[rng.integers(len(vocabulary))]
    if kind < 0.68:
        first, second = rng.integers(len(vocabulary), size=2)
        return f"{vocabulary[first]}-{vocabulary[second]}"
    if kind < 0.76:
        return number(rng, int(rng.integers(3, 8)))
    return random_string(rng)


def value(rng: np.random.Generator) -> str:
    """What the key leads to: a number for the most part, as passkeys and magic numbers are."""
    kind = rng.random()
    if kind < 0.70:
        return number(rng, int(rng.choice([4, 5, 5, 5, 6, 7, 7])))
    if kind < 0.80:
        return NOUNS[rng.integers(len(NOUNS))]
    if kind < 0.90:
        return f"{ADJECTIVES[rng.integers(len(ADJECTIVES))]} {NOUNS[rng.integers(len(NOUNS))]}"
    return random_string(rng)
