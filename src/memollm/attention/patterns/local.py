"""A sliding window, with attention sinks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from memollm.attention.patterns import spans
from memollm.attention.patterns.base import PositionalPattern, Positions, Visible, require
from memollm.registry import register


@register("pattern", "local")
@dataclass
class Local(PositionalPattern):
    """Each token sees the last ``window`` tokens, itself included, and the first ``sinks``.

    The window is Longformer's (Beltagy et al., 2020, arXiv:2004.05150). Models that were trained
    with full attention fail without the first few tokens, on which they park attention that has
    nowhere to go (Xiao et al., 2023, arXiv:2309.17453): set ``sinks`` to 0 to see it.
    """

    window: int = 256  # tokens, >= 1
    sinks: int = 4  # tokens, >= 0

    def __post_init__(self) -> None:
        require("window", self.window, 1)
        require("sinks", self.sinks, 0)

    @property
    def whole(self) -> float:
        return float(self.window + self.sinks)

    def visible(
        self, queries: Int[Tensor, "*rows queries"], keys: Int[Tensor, "*rows keys"]
    ) -> Visible:
        distance = queries[..., :, None] - keys[..., None, :]
        return (distance < self.window) | (keys < self.sinks)[..., None, :]

    def reach(self, queries: Positions) -> Positions:
        first = torch.arange(self.sinks, device=queries.device)
        return spans.union(queries, first, spans.window(queries, self.window))
