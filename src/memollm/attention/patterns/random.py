"""Random blocks: each block of queries sees a few earlier ones, drawn once and for all."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from memollm.attention.patterns import spans
from memollm.attention.patterns.base import PositionalPattern, Positions, Visible, require
from memollm.attention.patterns.hashing import drawn_blocks
from memollm.registry import register


@register("pattern", "random")
@dataclass
class Random(PositionalPattern):
    """Each token sees its own block, and at most ``draws`` earlier ones that its block drew.

    Who sees whom is hashed from positions and ``seed``: the same in a prompt and in decoding, in
    every batch and on every machine. Drawn with replacement, as BigBird's random blocks
    (Zaheer et al., 2020, arXiv:2007.14062).
    """

    size: int = 16  # tokens of a block, >= 1
    draws: int = 16  # blocks, >= 0
    seed: int = 0  # >= 0

    def __post_init__(self) -> None:
        require("size", self.size, 1)
        require("draws", self.draws, 0)
        require("seed", self.seed, 0)

    @property
    def whole(self) -> float:
        return float(self.size)

    def visible(
        self, queries: Int[Tensor, "*rows queries"], keys: Int[Tensor, "*rows keys"]
    ) -> Visible:
        own, block = queries // self.size, keys // self.size
        seen = own[..., :, None] == block[..., None, :]
        for drawn in drawn_blocks(own, self.draws, self.seed).unbind(-1):
            seen |= drawn[..., :, None] == block[..., None, :]
        return seen

    def reach(self, queries: Positions) -> Positions:
        own = torch.unique(queries // self.size)
        drawn = drawn_blocks(own, self.draws, self.seed).flatten()
        return spans.union(queries, spans.blocks(torch.cat([own, drawn]), self.size))
