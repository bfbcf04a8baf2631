"""A rule: who is forgotten.

A rule holds no tensors. What it needs to know of each token it names as columns, which the cache
carries along in the token's slot, and what it needs to know of each row as rows; it is shown what
queries attended to, and asked after each chunk who dies.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from jaxtyping import Bool, Float, Int
from torch import Tensor

from memollm.memory.tokens import Tokens


@dataclass(frozen=True)
class Gains:
    """Rehearsal of columns ``strength`` and ``recalled``, as ``rehearsal.rehearse`` has it."""

    reinforcement: float  # strength for each unit of attention
    recall_threshold: float | None  # attention that restarts the clock; None: none does


NOTHING: Mapping[str, float] = MappingProxyType({})


class Rule(abc.ABC):
    """Who is forgotten in one memory layer."""

    columns: Mapping[str, float | None]  # name -> value on insertion; None: the token's position
    rows: Mapping[str, float] = NOTHING  # name -> value in an empty cache
    given: frozenset[str] = frozenset()  # columns whose value on insertion ``born`` gives
    observes: bool  # whether it wants attention weights
    gains: Gains | None = None  # all that ``observe`` does, where it is no more than that

    def born(
        self,
        keys: Float[Tensor, "rows kv_heads new dim"],
        inputs: Float[Tensor, "batch new width"] | None,
    ) -> Mapping[str, Float[Tensor, "rows new"]]:
        """The ``given`` columns of new tokens, in the precision of the other columns.

        Args:
            keys: as they are stored, with their rotation.
            inputs: what the attention layer was given, of each sequence; None where nobody says.
        """
        return {}

    @abc.abstractmethod
    def observe(
        self,
        state: Mapping[str, Tensor],
        attention: Float[Tensor, "batch queries pairs"],
        queries: Int[Tensor, "batch queries"],
        seen: Int[Tensor, " batch"],
    ) -> None:
        """Account, in ``state`` and in place, for what a block of queries attended to.

        Args:
            state: columns (batch, pairs): floats at least in single precision, positions as
                integers.
            attention: weight that each query gave each pair, mean over the query heads of the row;
                0 where it sees it not, and everywhere for queries that do not count. The last
                pairs are the queries' own, in their order. May be overwritten.
            queries: positions of the queries, -1 for pads.
            seen: tokens seen per row when the chunk ends: its last query has position seen - 1.
        """

    @abc.abstractmethod
    def dying(self, tokens: Tokens) -> Bool[Tensor, "batch pairs"]:
        """Tokens to forget now, for good; all of them ``present`` and none ``spared``."""

    @abc.abstractmethod
    def idle(self, tokens: Tokens) -> float:
        """For how many more tokens nobody can die, for certain; 0: ask at the next chunk's end."""


class FadingRule(Rule):
    """A rule by which tokens fade before they die, as a mode that attenuates needs."""

    @abc.abstractmethod
    def retention(self, tokens: Tokens) -> Float[Tensor, "batch pairs"]:
        """R of every slot, in (0, 1]; protected tokens as any other."""
