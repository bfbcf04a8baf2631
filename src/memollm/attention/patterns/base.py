"""A pattern: who sees whom, before anything is forgotten.

Patterns speak of positions, never of lengths or slots: position p is the p-th token of its own
sequence, pads not counted, whatever is left of that sequence in the cache. So a prompt, a decoded
token, a left-padded row and a cache with gaps all mean the same by a pattern. That a token sees
nothing later than itself holds in any case, and is not the pattern's affair.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Positions: TypeAlias = Int[Tensor, " _"]  # of one sequence, >= 0
Visible: TypeAlias = Bool[Tensor, "*_ queries keys"]


@dataclass
class Pattern(abc.ABC):
    """Who sees whom. Every token sees itself."""

    limits: ClassVar[bool] = True  # False: there is no pattern, and no code of one runs

    @property
    @abc.abstractmethod
    def whole(self) -> float:
        """A length, in tokens, up to which every token sees all before it."""

    def reach(self, queries: Positions) -> Positions:
        """Positions of all keys that any of ``queries`` sees, ascending; more is allowed.

        Whoever attends reads no other keys, so the fewer the faster.
        """
        return torch.arange(int(queries.max()) + 1, device=queries.device)

    def kin(self, queries: Positions) -> Positions:
        """A number for each query: those of the same number see much the same keys.

        Whoever attends takes kin together. By default all are kin.
        """
        return torch.zeros_like(queries)


@dataclass
class PositionalPattern(Pattern):
    """Who sees whom is a matter of positions alone."""

    @abc.abstractmethod
    def visible(
        self, queries: Int[Tensor, "*rows queries"], keys: Int[Tensor, "*rows keys"]
    ) -> Visible:
        """Whether each query sees each key, by their positions."""


@dataclass
class ContentPattern(Pattern):
    """Who sees whom depends on what queries and keys hold."""

    coded: ClassVar[bool] = False  # whether ``codes`` are to be kept in the cache, beside the keys

    def codes(self, keys: Float[Tensor, "batch kv_heads keys dim"]) -> Tensor:
        """What the pattern needs to know of each key, worked out once: (batch, kv_heads, keys, _).

        Without codes of its own, a pattern is given the keys.
        """
        return keys

    @abc.abstractmethod
    def visible(
        self,
        queries: Float[Tensor, "batch heads queries dim"],
        codes: Tensor,
        query_positions: Int[Tensor, "batch queries"],
        key_positions: Int[Tensor, "batch keys"],
    ) -> Bool[Tensor, "batch heads queries keys"]:
        """Whether each query sees each key, in each query head.

        Heads share key-value heads in groups of neighbours. Keys at position -1 are no tokens:
        they, and keys later than the query, must not count.
        """


def require(key: str, value: int, least: int) -> None:
    """Refuse a setting below ``least``.

    Raises:
        ValueError: naming it.
    """
    if value < least:
        raise ValueError(f"pattern.{key}={value} is not allowed, it must be >= {least}")
