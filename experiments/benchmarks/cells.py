"""What is measured: cells, each one context of one kind in one precision with all its entrants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What is timed."""

    decode = "decode"  # one token after a context that is already cached
    prefill = "prefill"  # reading a prompt
    generate = "generate"  # both, by model.generate(), the memory's own dynamics deciding
    long = "long"  # a very long generation by a small model
    profile = "profile"  # where the time of a decoded token goes


@dataclass(frozen=True)
class Cell:
    """One group of entrants that take turns."""

    kind: Kind
    context: int  # tokens
    batch: int = 1
    dtype: str = "float32"
    rounds: int = 9  # turns of each entrant

    @property
    def id(self) -> str:
        return f"{self.kind}/{self.dtype}/batch{self.batch}/{self.context}"


def decode_rounds(context: int, batch: int) -> int:
    """More rounds where differences are small and steps cheap.

    >>> decode_rounds(512, 1), decode_rounds(32768, 1)
    (17, 9)
    """
    return 17 if context * batch <= 4096 else 9


def grid(name: str) -> Sequence[Cell]:
    """``full``: every cell; ``quick``: those that decide the targets of the table.

    >>> len(grid("quick")) < len(grid("full"))
    True
    """
    full = name == "full"
    contexts = (64, 512, 1024, 2048, 4096, 8192, 16384, 32768)
    chosen = contexts if full else (64, 512, 2048, 8192, 16384, 32768)
    batches = ((512, 8), (1024, 8), (2048, 8), (4096, 8), (8192, 8)) if full else ((4096, 8),)
    prefills = (512, 2048, 8192) if full else (2048, 8192)
    cells = []
    for dtype in ("float32", "bfloat16"):
        for context, batch in [*((it, 1) for it in chosen), *batches]:
            rounds = decode_rounds(context, batch)
            cells.append(Cell(Kind.decode, context, batch, dtype, rounds))
        cells.append(Cell(Kind.profile, 32768, 1, dtype))
        cells += [Cell(Kind.prefill, it, 1, dtype, 5 if it <= 2048 else 2) for it in prefills]
    cells.append(Cell(Kind.generate, 4096, 1, "bfloat16", 1))
    cells.append(Cell(Kind.long, 65536, 1, "float32", 1))
    return cells
