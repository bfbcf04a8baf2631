"""The strided pattern of the sparse transformer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from memollm.attention.patterns import spans
from memollm.attention.patterns.base import PositionalPattern, Positions, Visible, require
from memollm.registry import register


@register("pattern", "strided")
@dataclass
class Strided(PositionalPattern):
    """Each token sees the last ``window`` tokens, and every ``stride``-th one before itself.

    Child et al., 2019, arXiv:1904.10509: with both near the square root of the length, any token
    reaches any other in two layers. A decoded token reads window + length / stride keys; a prompt's
    neighbouring tokens share no stride, so that there the pattern saves no work.
    """

    window: int = 64  # tokens, >= 1
    stride: int = 64  # tokens, >= 1

    def __post_init__(self) -> None:
        require("window", self.window, 1)
        require("stride", self.stride, 1)

    @property
    def whole(self) -> float:
        return math.inf if self.stride == 1 else float(self.window)

    def visible(
        self, queries: Int[Tensor, "*rows queries"], keys: Int[Tensor, "*rows keys"]
    ) -> Visible:
        distance = queries[..., :, None] - keys[..., None, :]
        return (distance < self.window) | (distance % self.stride == 0)

    def reach(self, queries: Positions) -> Positions:
        last, rests = int(queries.max()), torch.unique(queries % self.stride)
        if len(rests) == self.stride:
            return torch.arange(last + 1, device=queries.device)
        starts = torch.arange(0, last + 1, self.stride, device=queries.device)
        strides = (starts[:, None] + rests).flatten()
        return spans.union(queries, strides, spans.window(queries, self.window))
