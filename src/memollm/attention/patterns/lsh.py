"""Locality-sensitive hashing: keys that point where the query points."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memollm.attention.patterns.base import ContentPattern, require
from memollm.registry import register


@register("pattern", "lsh")
@dataclass
class LSH(ContentPattern):
    """Each query head sees the keys that share its bucket in any round, and the newest and first.

    Angular hashing by random rotations, bucket = argmax([x R; -x R]), as in Reformer (Kitaev et
    al., 2020, arXiv:2001.04451). Reformer shares queries and keys; a model that was trained
    without that has them point elsewhere, so that a window and sinks must carry it. Keys are
    hashed once, when they are cached.
    """

    coded: ClassVar[bool] = True

    buckets: int = 8  # even, or 1
    rounds: int = 4  # >= 1
    window: int = 64  # newest tokens, >= 1
    sinks: int = 4  # first tokens, >= 0
    seed: int = 0  # of the rotations, >= 0

    def __post_init__(self) -> None:
        if self.buckets != 1 and (self.buckets < 2 or self.buckets % 2):
            raise ValueError(f"pattern.buckets={self.buckets} is not allowed, it must be even or 1")
        require("rounds", self.rounds, 1)
        require("window", self.window, 1)
        require("sinks", self.sinks, 0)
        require("seed", self.seed, 0)

    @property
    def whole(self) -> float:
        return math.inf if self.buckets == 1 else float(self.window + self.sinks)

    def codes(
        self, keys: Float[Tensor, "batch kv_heads keys dim"]
    ) -> Int[Tensor, "batch kv_heads keys rounds"]:
        """The bucket of each key in each round."""
        if self.buckets == 1:
            return keys.new_zeros(*keys.shape[:3], self.rounds, dtype=torch.int16)
        precise = keys if keys.dtype == torch.float64 else keys.float()
        rotations = _rotations(keys.shape[-1], self.rounds, self.buckets // 2, self.seed)
        turned = torch.einsum("bhnd,drc->bhnrc", precise, rotations.to(precise))
        return torch.cat([turned, -turned], dim=-1).argmax(dim=-1).to(torch.int16)

    def visible(
        self,
        queries: Float[Tensor, "batch heads queries dim"],
        codes: Tensor,
        query_positions: Int[Tensor, "batch queries"],
        key_positions: Int[Tensor, "batch keys"],
    ) -> Bool[Tensor, "batch heads queries keys"]:
        mine, theirs = query_positions[:, :, None], key_positions[:, None]
        group = queries.shape[1] // codes.shape[1]
        asked, known = self.codes(queries), codes.repeat_interleave(group, dim=1)
        seen = ((mine - theirs < self.window) | (theirs < self.sinks))[:, None]
        for one, other in zip(asked.unbind(-1), known.unbind(-1), strict=True):
            seen = seen | (one[..., :, None] == other[..., None, :])
        return seen & ((theirs <= mine) & (theirs >= 0))[:, None]


@functools.cache
def _rotations(dim: int, rounds: int, directions: int, seed: int) -> Tensor:
    """(dim, rounds, directions), normal, the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(dim, rounds, directions, generator=generator, dtype=torch.float64)
