"""Samples of linked variables, of text and of facts, and the places in them where a link ends."""

from __future__ import annotations

import string
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from memollm.reference.chains import chain
from memollm.reference.library import Library
from memollm.reference.samples import dense
from memollm.reference.tracking import tracking

LETTERS = string.ascii_uppercase
NAME = 5  # letters
LINK, VALUE = " VAR {}QJKZ = VAR HVWPB", " VAR {}QJKZ = 50718"
BLANK = " they are: "  # what a listing's first name follows
CHAINS, TEXTS, LENGTH = 96, 24, 256
# Without them layer 2 took other numbers for values of variables: pairs as JSON fell from 97 to
# 90 % (n = 100) when origins.py was built into a finished model, and with them to 97.
FACTS = 64


@dataclass(frozen=True)
class Spots:
    """Tensors of (samples, length)."""

    tokens: Tensor
    letters: Tensor  # of a name's first letter: its number, elsewhere -1
    ends: Tensor  # bool: behind "VAR PMKKW = VAR UCNDO"
    value_ends: Tensor  # bool: behind "VAR UCNDO = 87723"
    blanks: Tensor  # bool: the last token of ``BLANK``
    value_back: int  # tokens from behind "VAR UCNDO = 87723" back to the name's first letter


def draw_spots(library: Library, seed: int, facts: int = 0) -> Spots:
    """Chains in text and noise, one or several a sample, a quarter as RULER has them; then text.

    And then so many samples of dense facts, in which nothing is linked.

    Raises:
        ValueError: if the tokens of names are not single letters, so that no link is found.
    """
    tokenizer = library.tokenizer
    tokens = torch.from_numpy(
        np.stack([_sample(library, seed, number) for number in range(CHAINS + TEXTS + facts)])
    )
    letter, digit = (written_with(tokenizer, it)[tokens] for it in (LETTERS, string.digits))
    back, value_back = distance(tokenizer), distance(tokenizer, VALUE)
    r = tokens == tokenizer.token_to_id("R")
    ends, value_ends = (
        shifted(letter, first) & (shifted(r, first + 1) | shifted(r, first + 2))
        for first in (back, value_back)
    )
    for place in range(1, NAME + 1):
        ends &= shifted(letter, place)
        value_ends &= shifted(digit, place)
    if not ends.any() or not value_ends.any():
        raise ValueError("links need a tokenizer that writes names letter by letter")
    blanks = torch.ones_like(ends)
    for place, token in enumerate(reversed(tokenizer.encode(BLANK).ids)):
        blanks &= shifted(tokens == token, place)
    numbers = torch.full((tokenizer.get_vocab_size(),), -1)
    numbers[first_letters(tokenizer)] = torch.arange(len(LETTERS))
    return Spots(tokens, numbers[tokens], ends, value_ends, blanks, value_back)


def _sample(library: Library, seed: int, number: int) -> np.ndarray:
    rng = np.random.default_rng([seed, number])
    if number >= CHAINS + TEXTS:
        return dense(rng, library, LENGTH).tokens
    if number >= CHAINS:
        return library.window(rng, LENGTH)
    if number % 4 == 3:
        return tracking(rng, library, LENGTH).tokens
    hops, chains = ((2, 1), (4, 3), (4, 3))[number % 3]
    return chain(rng, library, LENGTH, hops, chains).tokens


def written_with(tokenizer: Tokenizer, characters: str) -> Tensor:
    """For each token, whether it is one of these characters, a blank before it or not."""
    found = torch.zeros(tokenizer.get_vocab_size(), dtype=torch.bool)
    for character in characters:
        for token in map(tokenizer.token_to_id, (character, f"Ġ{character}")):
            if token is not None:
                found[token] = True
    return found


def first_letters(tokenizer: Tokenizer) -> list[int]:
    """For each letter the token that a name begins with."""
    back = distance(tokenizer)
    return [tokenizer.encode(LINK.format(letter)).ids[-back] for letter in LETTERS]


def distance(tokenizer: Tokenizer, statement: str = LINK) -> int:
    """Tokens from behind a statement back to the first letter of its first name."""
    first = statement.index("{")
    offsets = tokenizer.encode(statement.format("X")).offsets
    return len(offsets) - next(i for i, (_, end) in enumerate(offsets) if end > first)


def shifted(values: Tensor, back: int) -> Tensor:
    """What stands ``back`` tokens before each place, ``False`` where nothing does."""
    moved = torch.zeros_like(values)
    moved[:, back:] = values[:, : values.shape[1] - back]
    return moved
