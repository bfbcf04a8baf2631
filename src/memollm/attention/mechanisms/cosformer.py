"""Cosformer: linear attention that favours near keys by a cosine."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from memollm.attention.mechanisms.base import Supports, require_whole
from memollm.attention.mechanisms.kernelised import Kernelised
from memollm.registry import register


@register("mechanism", "cosformer")
@dataclass
class Cosformer(Kernelised):
    """Weights relu(q_i) . relu(k_j) cos(pi (i - j) / 2 M), M = ``max_seq_len``.

    By cos(a - b) = cos a cos b + sin a sin b (Ptolemy), the features are relu(x) cos(pi i / 2 M)
    and relu(x) sin(pi i / 2 M). Weights are >= 0 up to M tokens apart, so that no text may be
    longer. O(N dim value_dim) time, O(N) memory. Qin et al., 2022, arXiv:2202.08791.
    Oracle: the quadratic form with the cosine written out.
    """

    supports: ClassVar[Supports] = Supports(mask=False, slopes=False, scale=False, cross=False)

    max_seq_len: int = 2048  # tokens

    def __post_init__(self) -> None:
        require_whole("max_seq_len", self.max_seq_len, 1)

    def features(
        self, queries: Tensor, keys: Tensor, first_query: int, first_key: int
    ) -> tuple[Tensor, Tensor]:
        last = first_key + keys.shape[2]
        if last > self.max_seq_len:
            raise ValueError(f"max_seq_len={self.max_seq_len} tokens at most, got {last}")
        return self._turned(queries, first_query), self._turned(keys, first_key)

    def _turned(self, vectors: Tensor, first: int) -> Tensor:
        position = torch.arange(
            first, first + vectors.shape[2], device=vectors.device, dtype=vectors.dtype
        )
        angle = (math.pi / 2 / self.max_seq_len * position).unsqueeze(-1)
        positive = vectors.relu()
        return torch.cat([positive * angle.cos(), positive * angle.sin()], dim=-1)
