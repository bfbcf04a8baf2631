"""Sparse softmax attention by position: what its mechanisms have in common."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from memollm.attention.mechanisms.base import Keys, Mechanism, Output, Queries, Supports, Values
from memollm.attention.mechanisms.scope import Scope
from memollm.attention.mechanisms.tiles import Indices, Span, Tile, tiled_attention

QueryPositions = Int[Tensor, "_ 1"]
KeyPositions = Int[Tensor, " _"]
Visible = Bool[Tensor, "_ _"]


@dataclass
class Sparse(Mechanism):
    """A query sees the keys that its position says, and nothing else is computed.

    ``visible`` is the definition, ``tiles`` the way there; causality is on top of the definition.
    """

    supports: ClassVar[Supports] = Supports(cross=False)
    once: ClassVar[bool] = True  # whether each query occurs in one tile only

    @abc.abstractmethod
    def visible(self, queries: QueryPositions, keys: KeyPositions, span: Span) -> Visible:
        """Whether a query sees a key, by their positions, which broadcast; causality aside."""

    @abc.abstractmethod
    def tiles(self, span: Span) -> Iterator[Tile]:
        """Tiles in which every visible pair occurs once, and no other is left visible."""

    def compute(
        self, queries: Queries, keys: Keys, values: Values, scope: Scope, weights: nn.Module | None
    ) -> Output:
        return tiled_attention(queries, keys, values, scope, self.tiles, self.once)[0]

    def seen(self, count: int, tokens: int, causal: bool) -> Bool[Tensor, "{count} {tokens}"]:
        """The definition as a mask, for the last ``count`` of ``tokens``; causality included."""
        span = Span(tokens - count, tokens, causal, torch.device("cpu"), 1)
        key = span.positions(0, tokens)
        query = key[tokens - count :, None]
        seen = self.visible(query, key, span)
        return seen & (key <= query) if causal else seen


def joined(span: Span, ranges: list[tuple[int, int]]) -> Indices:
    """Positions of ranges [start, stop) that are in order and apart; a slice if they adjoin."""
    ranges = [(start, stop) for start, stop in ranges if start < stop]
    if all(before[1] == after[0] for before, after in zip(ranges, ranges[1:], strict=False)):
        return slice(ranges[0][0], ranges[-1][1]) if ranges else slice(0, 0)
    return torch.cat([span.positions(*one) for one in ranges])
