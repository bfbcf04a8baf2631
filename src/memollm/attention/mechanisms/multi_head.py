"""Multi-head attention."""

from __future__ import annotations

from dataclasses import dataclass

from memollm.attention.mechanisms.dense import Dense
from memollm.registry import register


@register("mechanism", "multi_head")
@dataclass
class MultiHead(Dense):
    """Every query head has keys and values of its own: Concat(head_1, ..., head_h) W_o.

    O(heads * queries * keys) time; a cache holds 2 * heads * head_dim numbers a token.
    Vaswani et al., 2017, arXiv:1706.03762, section 3.2.2.
    Oracle: ``torch.nn.MultiheadAttention`` with the same weights.
    """

    def key_value_heads(self, heads: int, wanted: int | None) -> int:
        if wanted not in (None, heads):
            raise ValueError(f"n_kv_heads must be n_heads = {heads} in multi_head, got {wanted}")
        return heads
