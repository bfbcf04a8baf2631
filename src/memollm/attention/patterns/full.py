"""Full attention, by way of a pattern: what the machinery of patterns costs, and changes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from memollm.attention.patterns.base import PositionalPattern, Visible
from memollm.registry import register


@register("pattern", "full")
@dataclass
class Full(PositionalPattern):
    """Every token sees all before it."""

    @property
    def whole(self) -> float:
        return math.inf

    def visible(
        self, queries: Int[Tensor, "*rows queries"], keys: Int[Tensor, "*rows keys"]
    ) -> Visible:
        shape = torch.broadcast_shapes(queries.shape[:-1], keys.shape[:-1])
        return queries.new_ones(*shape, queries.shape[-1], keys.shape[-1], dtype=torch.bool)
