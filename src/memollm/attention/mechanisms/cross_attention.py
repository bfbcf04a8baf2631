"""Cross-attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from memollm.attention.mechanisms.base import Supports
from memollm.attention.mechanisms.dense import Dense
from memollm.registry import register


@register("mechanism", "cross")
@dataclass
class CrossAttention(Dense):
    """Keys and values are of another sequence, all of which every query sees.

    O(queries * keys) time. Vaswani et al., 2017, arXiv:1706.03762, section 3.2.3.
    Oracle: ``torch.nn.MultiheadAttention`` of one sequence with another.
    """

    supports: ClassVar[Supports] = Supports(
        causal=False, bidirectional=False, cache=False, slopes=False
    )
