"""Linformer: keys and values shortened by learned projections of their sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from memollm.attention.mechanisms.base import (
    HeadShape,
    Keys,
    Mechanism,
    Output,
    Queries,
    Supports,
    Values,
    require_whole,
)
from memollm.attention.mechanisms.scope import Scope
from memollm.registry import register


class SequenceProjections(nn.Module):
    """E and F, which all heads share."""

    def __init__(self, rank: int, length: int) -> None:
        super().__init__()
        self.keys = nn.Parameter(torch.randn(rank, length) * length**-0.5)
        self.values = nn.Parameter(torch.randn(rank, length) * length**-0.5)


@register("mechanism", "linformer")
@dataclass
class Linformer(Mechanism):
    """o = softmax(q (E k)^T / sqrt(d)) F v, with E and F (rank, max_seq_len) learned.

    A shorter text uses their first columns. O(N rank) time and memory. Every output mixes all
    tokens, so that it cannot be causal. Wang et al., 2020, arXiv:2006.04768, equation 7.
    Oracle: ``full``, with E = F a permutation. (Full rank alone is not enough.)
    """

    supports: ClassVar[Supports] = Supports(causal=False, mask=False, cache=False, slopes=False)

    projection_dim: int = 256  # rank, >= 1
    max_seq_len: int = 2048  # tokens

    def __post_init__(self) -> None:
        require_whole("projection_dim", self.projection_dim, 1)
        require_whole("max_seq_len", self.max_seq_len, 1)

    def weights(self, shape: HeadShape) -> SequenceProjections:
        return SequenceProjections(self.projection_dim, self.max_seq_len)

    def compute(
        self, queries: Queries, keys: Keys, values: Values, scope: Scope, weights: nn.Module | None
    ) -> Output:
        if not isinstance(weights, SequenceProjections):
            raise ValueError(f"linformer needs the weights that it makes, got {weights!r}")
        tokens = keys.shape[2]
        if tokens > self.max_seq_len:
            raise ValueError(f"max_seq_len={self.max_seq_len} tokens at most, got {tokens}")
        short_keys: Tensor = weights.keys[:, :tokens].to(keys.dtype) @ keys
        short_values: Tensor = weights.values[:, :tokens].to(values.dtype) @ values
        grouped = queries.shape[1] != keys.shape[1]
        return scaled_dot_product_attention(
            queries, short_keys, short_values, scale=scope.scale, enable_gqa=grouped
        )
