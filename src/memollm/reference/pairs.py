"""Key-value retrieval: a JSON object of pairs, and questions for the values of some.

The prompt is that of "Lost in the Middle" (Liu et al., 2023, arXiv:2307.03172). Further
questions follow the first, so that a sample has more than one answer to learn from.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable

import numpy as np

from memollm.reference import keys
from memollm.reference.library import Library
from memollm.reference.pieces import Piece, Role, encode
from memollm.reference.samples import Sample

HEAD = "Extract the value corresponding to the specified key in the JSON object below.\n\n"
DATA = "JSON data:\n"
MOST_ASKED = 3
Encoded = tuple[np.ndarray, np.ndarray]


def pairs(
    rng: np.random.Generator, library: Library, length: int, identifiers: float = 0.7
) -> Sample:
    """As many pairs as fit, of UUIDs in this share of samples; the last question is cut."""
    draw = _identifier if rng.random() < identifiers else _short(rng, library)
    told = rng.random() < 0.3  # whether the first key asked for stands before the data, too
    drawn: dict[str, str] = {}
    lines: list[Encoded] = []
    room = length - int(rng.integers(1, MOST_ASKED + 1)) * len(_ask(library, *_pair(rng, draw))[0])
    room -= len(encode(library.tokenizer, [(HEAD + DATA, Role.TEXT)])[0]) + told * 40
    while room > 0 or not lines:
        key, value = _pair(rng, draw)
        if key in drawn:
            continue
        line = _line(library, key, value, first=not lines)
        room -= len(line[0])
        if room >= 0 or not lines:
            drawn[key] = value
            lines.append(line)
    asked = [list(drawn)[i] for i in rng.permutation(len(drawn))]
    before: list[Piece] = [
        ('Key: "', Role.TEXT),
        (asked[0], Role.UNPREDICTABLE),
        ('"\n\n', Role.TEXT),
    ]
    head = [(HEAD, Role.TEXT), *(before if told else []), (DATA, Role.TEXT)]
    parts = [
        encode(library.tokenizer, head),
        *lines,
        encode(library.tokenizer, [("}\n\n", Role.TEXT)]),
    ]
    used, number = sum(len(tokens) for tokens, _ in parts), 0
    while used < length:
        key = asked[number % len(asked)]
        parts.append(_ask(library, key, drawn[key]))
        used += len(parts[-1][0])
        number += 1
    tokens, roles = (np.concatenate(column)[:length] for column in zip(*parts, strict=True))
    return Sample(tokens, roles)


def _line(library: Library, key: str, value: str, first: bool) -> Encoded:
    pieces: list[Piece] = [('{"' if first else ' "', Role.TEXT), (key, Role.UNPREDICTABLE)]
    pieces += [('": "', Role.TEXT), (value, Role.UNPREDICTABLE), ('",\n', Role.TEXT)]
    return encode(library.tokenizer, pieces)


def _ask(library: Library, key: str, value: str) -> Encoded:
    pieces: list[Piece] = [('Key: "', Role.TEXT), (key, Role.UNPREDICTABLE)]
    pieces += [('"\nCorresponding value:', Role.TEXT), (' "', Role.ANSWER), (value, Role.ANSWER)]
    return encode(library.tokenizer, [*pieces, ('"\n\n', Role.TEXT)])


def _pair(rng: np.random.Generator, draw: Callable[[np.random.Generator], str]) -> tuple[str, str]:
    return draw(rng), draw(rng)


def _identifier(rng: np.random.Generator) -> str:
    return str(uuid.UUID(bytes=rng.bytes(16)))


def _short(rng: np.random.Generator, library: Library) -> Callable[[np.random.Generator], str]:
    """Numbers, or keys of any kind: the same for all pairs of a sample."""
    if rng.random() < 0.5:
        return lambda rng: keys.number(rng, 7)
    return lambda rng: keys.key(rng, library.vocabulary)
