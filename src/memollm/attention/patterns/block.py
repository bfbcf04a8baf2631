"""Blocks: a token sees its own block and those just before it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from memollm.attention.patterns import spans
from memollm.attention.patterns.base import PositionalPattern, Positions, Visible, require
from memollm.registry import register


@register("pattern", "block")
@dataclass
class Block(PositionalPattern):
    """Each token sees the last ``near`` blocks, its own included, and the ``first`` ones.

    Blockwise attention (Qiu et al., 2020, arXiv:1911.02972): all tokens of a block see the same
    keys, so that nothing is read for one of them alone.
    """

    size: int = 64  # tokens, >= 1
    near: int = 4  # blocks, >= 1
    first: int = 1  # blocks, >= 0

    def __post_init__(self) -> None:
        require("size", self.size, 1)
        require("near", self.near, 1)
        require("first", self.first, 0)

    @property
    def whole(self) -> float:
        return float(self.size * (self.near + self.first))

    def visible(
        self, queries: Int[Tensor, "*rows queries"], keys: Int[Tensor, "*rows keys"]
    ) -> Visible:
        own, block = queries // self.size, keys // self.size
        near = own[..., :, None] - block[..., None, :] < self.near
        return near | (block < self.first)[..., None, :]

    def reach(self, queries: Positions) -> Positions:
        own = torch.unique(queries // self.size)
        near = (own[:, None] - torch.arange(self.near, device=own.device)).clamp(min=0)
        first = torch.arange(self.first, device=own.device)
        return spans.union(queries, spans.blocks(near, self.size), spans.blocks(first, self.size))
