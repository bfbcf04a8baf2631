"""Text in pieces, each with the part it plays in the loss."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import IntEnum

import numpy as np
from tokenizers import Tokenizer


class Role(IntEnum):
    """What a token is to the learner."""

    UNPREDICTABLE = 0  # no loss: a random key or value's first mention, a question's words
    TEXT = 1  # ordinary text
    ANSWER = 2  # said before, so retrieval predicts it


Piece = tuple[str, Role]
_PLACE = re.compile(r"\{(key|value)\}")


def fill(template: str, key: str, value: str) -> list[Piece]:
    """Cut a statement at its key and value: not to be known at first, and answers from then on."""
    pieces: list[Piece] = []
    seen: set[str] = set()
    for number, part in enumerate(_PLACE.split(template)):
        if number % 2 == 0:
            pieces.append((part, Role.TEXT))
        else:
            role = Role.ANSWER if part in seen else Role.UNPREDICTABLE
            pieces.append((value if part == "value" else key, role))
            seen.add(part)
    return pieces


def encode(tokenizer: Tokenizer, pieces: Iterable[Piece]) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of the joined text and their roles.

    The text is encoded as a whole, so that tokens fall as they would for a user's prompt; a token
    that spans two pieces takes the role of its last character.
    """
    pieces = list(pieces)
    roles = np.repeat([int(role) for _, role in pieces], [len(text) for text, _ in pieces])
    encoding = tokenizer.encode("".join(text for text, _ in pieces))
    ends = np.array([end - 1 for _, end in encoding.offsets], dtype=np.int64)
    return np.array(encoding.ids, dtype=np.int64), roles[ends].astype(np.int64)
