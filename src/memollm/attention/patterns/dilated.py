"""A sliding window with gaps: far sight at the price of near sight."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from memollm.attention.patterns import spans
from memollm.attention.patterns.base import PositionalPattern, Positions, Visible, require
from memollm.registry import register


@register("pattern", "dilated")
@dataclass
class Dilated(PositionalPattern):
    """Each token sees ``window`` tokens, ``dilation`` apart, back from itself, and the ``sinks``.

    Longformer's dilated window (Beltagy et al., 2020, arXiv:2004.05150): the same work as a window
    that is not dilated, ``dilation`` times the distance. Tokens a multiple of the dilation apart
    see the same keys, and none of the others'.
    """

    window: int = 64  # tokens seen, >= 1
    dilation: int = 4  # tokens from one to the next, >= 1
    sinks: int = 4  # tokens, >= 0

    def __post_init__(self) -> None:
        require("window", self.window, 1)
        require("dilation", self.dilation, 1)
        require("sinks", self.sinks, 0)

    @property
    def whole(self) -> float:
        return float(self.sinks + (self.window if self.dilation == 1 else 1))

    def visible(
        self, queries: Int[Tensor, "*rows queries"], keys: Int[Tensor, "*rows keys"]
    ) -> Visible:
        distance = queries[..., :, None] - keys[..., None, :]
        near = distance < self.window * self.dilation
        return near & (distance % self.dilation == 0) | (keys < self.sinks)[..., None, :]

    def reach(self, queries: Positions) -> Positions:
        first = torch.arange(self.sinks, device=queries.device)
        return spans.union(queries, first, spans.window(queries, self.window, self.dilation))

    def kin(self, queries: Positions) -> Positions:
        return queries % self.dilation
