"""Self-attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from memollm.attention.mechanisms.base import Supports
from memollm.attention.mechanisms.dense import Dense
from memollm.registry import register


@register("mechanism", "self")
@dataclass
class SelfAttention(Dense):
    """Keys and values are of the queries' own sequence, causal or not.

    O(queries * keys) time. Vaswani et al., 2017, arXiv:1706.03762, section 3.2.3.
    Oracle: ``torch.nn.MultiheadAttention`` of a sequence with itself.
    """

    supports: ClassVar[Supports] = Supports(cross=False)
