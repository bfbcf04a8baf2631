"""Performer: softmax by positive random features."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from memollm.attention.mechanisms.base import require_whole
from memollm.attention.mechanisms.kernelised import Kernelised
from memollm.registry import register


@register("mechanism", "performer")
@dataclass
class Performer(Kernelised):
    """phi(x)_r = e^(w_r . y - |y|^2 / 2) / sqrt(features), with y = x / dim^(1/4).

    FAVOR+: phi(q) . phi(k) has mean e^(q . k / sqrt(dim)) over normal w, and less variance if the w
    are orthogonal. How many features are enough grows fast with |q| and |k|. O(N features dim)
    time, O(N) memory. Choromanski et al., 2020, arXiv:2009.14794, lemma 1 and section 2.4.
    Oracle: ``full``, which it approaches as features are added, for small q and k.
    """

    projection_dim: int = 256  # features, >= 1
    orthogonal: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        require_whole("projection_dim", self.projection_dim, 1)

    def features(
        self, queries: Tensor, keys: Tensor, first_query: int, first_key: int
    ) -> tuple[Tensor, Tensor]:
        dim = queries.shape[-1]
        directions = _directions(dim, self.projection_dim, self.orthogonal, self.seed)
        directions = directions.to(queries)
        asking, asked = (self._exponents(it * dim**-0.25, directions) for it in (queries, keys))
        # Factors of a whole query cancel in the division; so do those of all keys. The largest
        # exponent that a key can have is |w|^2 / 2: half of it keeps e^... in range on both sides,
        # and depends on no key, as a maximum over keys would.
        peak = asking.amax(-1, keepdim=True).detach()
        middle = directions.square().sum(0).max() / 4
        return (asking - peak).exp(), (asked - middle).exp()

    def _exponents(self, scaled: Tensor, directions: Tensor) -> Tensor:
        return scaled @ directions - scaled.square().sum(-1, keepdim=True) / 2


@functools.lru_cache(maxsize=16)
def _directions(
    dim: int, features: int, orthogonal: bool, seed: int
) -> Float[Tensor, "dim features"]:
    """Normal vectors; if orthogonal, then ``dim`` at a time, their lengths drawn as without."""
    lots = torch.Generator().manual_seed(seed)
    blocks = [
        torch.randn(dim, dim, generator=lots, dtype=torch.float64)
        for _ in range(math.ceil(features / dim))
    ]
    if orthogonal:
        lengths = [
            torch.randn(dim, dim, generator=lots, dtype=torch.float64).norm(dim=0) for _ in blocks
        ]
        blocks = [
            torch.linalg.qr(block).Q * length for block, length in zip(blocks, lengths, strict=True)
        ]
    return torch.cat(blocks, dim=1)[:, :features]
