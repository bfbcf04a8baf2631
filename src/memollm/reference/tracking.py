"""Variable tracking in RULER's own prompt (Hsieh et al., 2024, arXiv:2404.06654, task ``vt``).

One chain in noise, all its names asked for; half of the samples begin with a solved example.
"""

from __future__ import annotations

import string

import numpy as np

from memollm.reference import keys
from memollm.reference.chains import listing
from memollm.reference.library import NOISE, Library
from memollm.reference.pieces import Piece, Role, encode
from memollm.reference.samples import Sample

HEAD = "Memorize and track the chain(s) of variable assignment hidden in the following text.\n\n"
LETTERS = list(string.ascii_uppercase)
Encoded = tuple[np.ndarray, np.ndarray]


def tracking(rng: np.random.Generator, library: Library, length: int) -> Sample:
    """Chains of two to five names, before the question that ends the sample."""
    names = int(rng.integers(2, 6))
    shown: list[Encoded] = []
    if rng.random() < 0.5 and length >= 512:
        shown = _solved(rng, library, int(length * rng.uniform(0.25, 0.5)), names, letters=3)
    used = sum(len(tokens) for tokens, _ in shown)
    parts = [*shown, *_solved(rng, library, length - used, names, letters=5)]
    tokens, roles = (np.concatenate(column)[-length:] for column in zip(*parts, strict=True))
    return Sample(tokens, roles)


def _solved(
    rng: np.random.Generator, library: Library, length: int, count: int, letters: int
) -> list[Encoded]:
    """Introduction, noise with a chain in it, question and answer: at least ``length`` tokens."""
    names = ["".join(rng.choice(LETTERS, letters)) for _ in range(count)]
    value = keys.number(rng, 5)
    links = [encode(library.tokenizer, link) for link in _links(names, value)]
    head = encode(library.tokenizer, [(HEAD, Role.TEXT)])
    asked = encode(library.tokenizer, [*listing(names, value), ("\n\n", Role.TEXT)])
    line = library.noise(len(library.tokenizer.encode(NOISE).ids))
    room = length - sum(len(tokens) for tokens, _ in (head, asked, *links))
    hay = max(len(links), -(-room // len(line)))
    places = np.sort(rng.choice(hay, len(links), replace=False)).tolist()
    text = (line, np.full(len(line), int(Role.TEXT)))
    parts = [head]
    for number in range(hay):
        if number in places:
            parts.append(links[places.index(number)])
        parts.append(text)
    return [*parts, asked]


def _links(names: list[str], value: str) -> list[list[Piece]]:
    """Assignments in order; the blank at the end of a line is RULER's, the first has none."""
    first: list[Piece] = [("VAR ", Role.TEXT), (names[0], Role.UNPREDICTABLE), (" = ", Role.TEXT)]
    found = [[*first, (value, Role.UNPREDICTABLE), ("\n", Role.TEXT)]]
    for known, new in zip(names, names[1:], strict=False):
        link: list[Piece] = [("VAR ", Role.TEXT), (new, Role.UNPREDICTABLE), (" = VAR ", Role.TEXT)]
        found.append([*link, (known, Role.UNPREDICTABLE), (" \n", Role.TEXT)])
    return found
