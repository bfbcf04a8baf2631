"""Longformer: a sliding window, dilated or not, and a few global tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from memollm.attention.patterns import spans
from memollm.attention.patterns.base import PositionalPattern, Positions, Visible, require
from memollm.registry import register


@register("pattern", "longformer")
@dataclass
class Longformer(PositionalPattern):
    """Each token sees ``window`` tokens, ``dilation`` apart, and the first ``tokens``, global ones.

    Beltagy et al., 2020, arXiv:2004.05150, made causal: of the window its past half is left. The
    global tokens are the first, where a task or an instruction stands; they see each other.
    """

    window: int = 256  # tokens seen, >= 1
    dilation: int = 1  # tokens from one to the next, >= 1
    tokens: int = 64  # first ones, >= 0

    def __post_init__(self) -> None:
        require("window", self.window, 1)
        require("dilation", self.dilation, 1)
        require("tokens", self.tokens, 0)

    @property
    def whole(self) -> float:
        return float(self.tokens + (self.window if self.dilation == 1 else 1))

    def visible(
        self, queries: Int[Tensor, "*rows queries"], keys: Int[Tensor, "*rows keys"]
    ) -> Visible:
        distance = queries[..., :, None] - keys[..., None, :]
        near = (distance < self.window * self.dilation) & (distance % self.dilation == 0)
        return near | (keys < self.tokens)[..., None, :]

    def reach(self, queries: Positions) -> Positions:
        first = torch.arange(self.tokens, device=queries.device)
        return spans.union(queries, first, spans.window(queries, self.window, self.dilation))

    def kin(self, queries: Positions) -> Positions:
        return queries % self.dilation
