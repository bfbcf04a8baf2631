"""Global tokens: a few that all see and that see all; the rest sees them alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from memollm.attention.patterns import spans
from memollm.attention.patterns.base import PositionalPattern, Positions, Visible, require
from memollm.registry import register


@register("pattern", "global")
@dataclass
class GlobalTokens(PositionalPattern):
    """The first ``tokens`` and each ``every``-th one are global; the rest sees these and itself.

    The global attention of Longformer (Beltagy et al., 2020, arXiv:2004.05150) without its window.
    What stands between two global tokens reaches the rest only through the next of them.
    """

    tokens: int = 64  # first ones, >= 0
    every: int = 64  # tokens from one global token to the next, >= 0; 0: only the first ones

    def __post_init__(self) -> None:
        require("tokens", self.tokens, 0)
        require("every", self.every, 0)

    @property
    def whole(self) -> float:
        if self.every == 1:
            return math.inf
        return float(self.tokens + 1)

    def visible(
        self, queries: Int[Tensor, "*rows queries"], keys: Int[Tensor, "*rows keys"]
    ) -> Visible:
        either = self._is_global(queries)[..., :, None] | self._is_global(keys)[..., None, :]
        return either | (queries[..., :, None] == keys[..., None, :])

    def reach(self, queries: Positions) -> Positions:
        last, device = int(queries.max()), queries.device
        if bool(self._is_global(queries).any()):
            return torch.arange(last + 1, device=device)
        parts = [torch.arange(self.tokens, device=device), queries]
        if self.every:
            parts.append(torch.arange(0, last + 1, self.every, device=device))
        return spans.union(queries, *parts)

    def kin(self, queries: Positions) -> Positions:
        return self._is_global(queries).long()

    def _is_global(self, positions: Int[Tensor, "*rows"]) -> Bool[Tensor, "*rows"]:
        first = positions < self.tokens
        return first | (positions % self.every == 0) if self.every else first
