"""Scaled dot-product attention."""

from __future__ import annotations

from dataclasses import dataclass

from memollm.attention.mechanisms.dense import Dense
from memollm.registry import register


@register("mechanism", "full")
@dataclass
class Full(Dense):
    """o_i = sum_j softmax_j(q_i k_j / sqrt(d)) v_j, with any number of heads to a key.

    q (batch, heads, queries, d), k and v (batch, kv_heads, keys, d). O(queries * keys) time.
    Vaswani et al., 2017, arXiv:1706.03762, equation 1.
    Oracle: the same sum written out.
    """
