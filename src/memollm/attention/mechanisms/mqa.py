"""Multi-query attention."""

from __future__ import annotations

from dataclasses import dataclass

from memollm.attention.mechanisms.dense import Dense
from memollm.registry import register


@register("mechanism", "mqa")
@dataclass
class MultiQuery(Dense):
    """All query heads share one key-value head.

    As long as ``multi_head`` in time; a cache holds 1 / heads of its numbers. Shazeer, 2019,
    arXiv:1911.02150.
    Oracle: ``gqa`` with one key-value head.
    """

    def key_value_heads(self, heads: int, wanted: int | None) -> int:
        if wanted not in (None, 1):
            raise ValueError(f"n_kv_heads must be 1 in mqa, got {wanted}")
        return 1
