"""Attention to everything that is not hidden: what its mechanisms have in common.

They differ in who the keys are of, and in how many heads share them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from memollm.attention.mechanisms.base import Keys, Mechanism, Output, Queries, Values
from memollm.attention.mechanisms.scope import Scope


@dataclass
class Dense(Mechanism):
    """Softmax attention by torch's own kernel.

    O(queries * keys) time. The kernel needs O(queries) memory; a mask, pads or ALiBi need
    O(queries * keys) for themselves (``flash`` does not).
    """

    hides_pads: ClassVar[bool] = True

    def compute(
        self, queries: Queries, keys: Keys, values: Values, scope: Scope, weights: nn.Module | None
    ) -> Output:
        count, tokens = queries.shape[2], keys.shape[2]
        causal = scope.causal and count > 1
        plain = scope.mask is None and scope.padding is None and scope.slopes is None
        mask = None
        # torch's is_causal would take the first keys for the queries' own.
        if not plain or (causal and count < tokens):
            mask = additive(scope, queries, tokens)
        return scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask, is_causal=causal and mask is None,
            scale=scope.scale, enable_gqa=queries.shape[1] != keys.shape[1],
        )  # fmt: skip


def additive(scope: Scope, queries: Queries, tokens: int) -> Tensor:
    """What ``scope`` does to scores (batch or 1, heads or 1, queries, keys): a mask or a bias."""
    count, device = queries.shape[2], queries.device
    ago = torch.arange(tokens - count, tokens, device=device)[:, None]
    ago = ago - torch.arange(tokens, device=device)
    seen = (ago >= 0 if scope.causal else torch.ones_like(ago, dtype=torch.bool))[None, None]
    if scope.mask is not None:
        seen = seen & scope.mask
    if scope.padding is not None:
        seen = seen & scope.padding[:, None, None]
    if scope.slopes is None:
        return seen
    bias = -scope.slopes.to(queries.dtype)[:, None, None] * ago.abs().to(queries.dtype)
    return bias.masked_fill(~seen, -torch.inf)
