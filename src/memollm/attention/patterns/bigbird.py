"""BigBird: blocks that are first, near or drawn at random."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from memollm.attention.patterns import spans
from memollm.attention.patterns.base import PositionalPattern, Positions, Visible, require
from memollm.attention.patterns.hashing import drawn_blocks
from memollm.registry import register


@register("pattern", "bigbird")
@dataclass
class BigBird(PositionalPattern):
    """Each token sees the ``first`` blocks, the last ``near`` ones, and ``draws`` random ones.

    Zaheer et al., 2020, arXiv:2007.14062, made causal: of a window centred on the query its past
    half is left, and global blocks are seen by all but see only what came before them.
    """

    size: int = 64  # tokens of a block, >= 1
    first: int = 1  # blocks, >= 0
    near: int = 2  # blocks, the query's own included, >= 1
    draws: int = 3  # blocks, >= 0
    seed: int = 0  # >= 0

    def __post_init__(self) -> None:
        require("size", self.size, 1)
        require("first", self.first, 0)
        require("near", self.near, 1)
        require("draws", self.draws, 0)
        require("seed", self.seed, 0)

    @property
    def whole(self) -> float:
        return float(self.size * (self.first + self.near))

    def visible(
        self, queries: Int[Tensor, "*rows queries"], keys: Int[Tensor, "*rows keys"]
    ) -> Visible:
        own, block = queries // self.size, keys // self.size
        seen = own[..., :, None] - block[..., None, :] < self.near
        seen |= (block < self.first)[..., None, :]
        for drawn in drawn_blocks(own, self.draws, self.seed).unbind(-1):
            seen |= drawn[..., :, None] == block[..., None, :]
        return seen

    def reach(self, queries: Positions) -> Positions:
        own = torch.unique(queries // self.size)
        near = (own[:, None] - torch.arange(self.near, device=own.device)).clamp(min=0).flatten()
        drawn = drawn_blocks(own, self.draws, self.seed).flatten()
        first = torch.arange(self.first, device=own.device)
        return spans.union(queries, spans.blocks(torch.cat([first, near, drawn]), self.size))
