"""Grouped-query attention."""

from __future__ import annotations

from dataclasses import dataclass

from memollm.attention.mechanisms.dense import Dense
from memollm.registry import register

GROUP = 4  # query heads to a key-value head, unless it is said


@register("mechanism", "gqa")
@dataclass
class GroupedQuery(Dense):
    """Groups of neighbouring query heads share a key-value head.

    As long as ``multi_head`` in time; a cache holds kv_heads / heads of its numbers. Ainslie et
    al., 2023, arXiv:2305.13245.
    Oracle: ``multi_head`` with each key-value head repeated for its group.
    """

    def key_value_heads(self, heads: int, wanted: int | None) -> int:
        if wanted is None and heads % GROUP:
            raise ValueError(f"gqa shares a key-value head among {GROUP} of n_heads={heads}, which "
                             "it does not divide: say n_kv_heads")  # fmt: skip
        return heads // GROUP if wanted is None else wanted
