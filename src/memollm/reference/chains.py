"""Variable tracking: a value, and the names that lead to it hop by hop (after RULER's ``vt``)."""

from __future__ import annotations

import string

import numpy as np

from memollm.reference import keys
from memollm.reference.library import Library
from memollm.reference.pieces import Piece, Role, encode
from memollm.reference.samples import Sample

LETTERS = list(string.ascii_uppercase)


def chain(
    rng: np.random.Generator,
    library: Library,
    length: int,
    hops: int | None = None,
    chains: int | None = None,
) -> Sample:
    """Chains of ``hops`` assignments in a haystack, then a question for each, in any order.

    Where they do not all fit, questions are left out, then hops and chains.
    """
    hops = int(rng.integers(1, 5)) if hops is None else hops
    chains = int(rng.integers(1, 5)) if chains is None else chains
    names = [["".join(rng.choice(LETTERS, 5)) for _ in range(hops + 1)] for _ in range(chains)]
    values = [keys.number(rng, 5) for _ in range(chains)]
    queues = [_assignments(*one) for one in zip(names, values, strict=True)]
    stated: list[tuple[np.ndarray, np.ndarray]] = []
    while any(queues):  # chains interleave, each in its own order
        queue = queues[rng.choice([i for i, queue in enumerate(queues) if queue])]
        stated.append(encode(library.tokenizer, queue.pop(0)))
    asked = [
        encode(library.tokenizer, question(names[which], values[which], rng.random() < 0.6))
        for which in rng.permutation(chains)
    ]
    room = length - sum(len(tokens) for tokens, _ in stated + asked)
    while room < 0 and len(asked) > 1:
        room += len(asked.pop()[0])
    if room < 0:
        return chain(rng, library, length, max(1, hops - 1), max(1, chains - 1))
    haystack = library.noise(room) if rng.random() < 0.4 else library.window(rng, room)
    parts, done = [], 0
    for place, assignment in zip(
        np.sort(rng.integers(0, room + 1, len(stated))), stated, strict=True
    ):
        parts += [(haystack[done:place], np.full(place - done, int(Role.TEXT))), assignment]
        done = place
    parts += [(haystack[done:], np.full(room - done, int(Role.TEXT))), *asked]
    tokens, roles = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Sample(tokens, roles)


def _assignments(names: list[str], value: str) -> list[list[Piece]]:
    rights = [value, *(f"VAR {name}" for name in names)]
    return [
        [(" VAR ", Role.TEXT), (name, Role.UNPREDICTABLE), (" = ", Role.TEXT)]
        + [(right, Role.UNPREDICTABLE), (".", Role.TEXT)]
        for name, right in zip(names, rights, strict=False)
    ]


def question(names: list[str], value: str, listed: bool) -> list[Piece]:
    """All names asked for (``listed``), or the last one resolved hop by hop."""
    if not listed:
        path = [part for name in names[-2::-1] for part in (" = VAR ", name)]
        pieces: list[Piece] = [("\nWhat is VAR ", Role.TEXT), (names[-1], Role.UNPREDICTABLE)]
        pieces += [("? VAR ", Role.TEXT), (names[-1], Role.ANSWER)]
        pieces += [(part, Role.ANSWER if i % 2 else Role.TEXT) for i, part in enumerate(path)]
        return [*pieces, (" = ", Role.TEXT), (value, Role.ANSWER), (".", Role.TEXT)]
    return [("\n", Role.TEXT), *listing(names, value), (".", Role.TEXT)]


def listing(names: list[str], value: str) -> list[Piece]:
    """RULER's own question, to the blank that its prompt ends with, and the names."""
    return [
        ("Question: Find all variables that are assigned the value ", Role.TEXT),
        (value, Role.UNPREDICTABLE),
        (
            " in the text above. Answer: According to the chain(s) of variable assignment in the "
            f"text above, {len(names)} variables are assigned the value ",
            Role.TEXT,
        ),
        (value, Role.ANSWER),
        (", they are: ", Role.TEXT),
        *((f" {name}", Role.ANSWER) for name in names),
    ]
