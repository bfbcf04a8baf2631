"""What the queries of a call may see, beside what the mechanism itself leaves out."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class Scope:
    """Who is hidden from whom, and what is added to the scores; None changes nothing.

    Unless ``cross``, the queries are the last ``queries`` of the ``keys`` tokens: as many as
    there are keys for a whole text, fewer when the first of them come from a cache.
    """

    causal: bool = True  # a token sees nothing after itself
    cross: bool = False  # the keys are of another sequence, so that positions do not compare
    mask: Bool[Tensor, "_ _ queries keys"] | None = None  # True: may be seen; 1 row, 1 head: all
    padding: Bool[Tensor, "batch keys"] | None = None  # True: a token; False: a pad
    slopes: Float[Tensor, " heads"] | None = None  # ALiBi: scores -= slope * distance
    scale: float | None = None  # of the scores; None: head_dim ** -0.5
    hidden: Float[Tensor, "batch queries width"] | None = None  # what the queries were made of
