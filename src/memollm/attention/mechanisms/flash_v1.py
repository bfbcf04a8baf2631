"""Flash attention, first version: keys in the outer loop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from memollm.attention.mechanisms.flash import Blockwise
from memollm.registry import register


@register("mechanism", "flash_v1")
@dataclass
class FlashV1(Blockwise):
    """Each block of keys goes through the queries, whose running outputs come and go.

    Dao et al., 2022, arXiv:2205.14135, algorithm 1.
    Oracle: ``full``; ``flash``.
    """

    def blocks(self, queries: int, keys: int) -> Iterator[tuple[int, int]]:
        for key in range(0, keys, self.key_block):
            for query in range(0, queries, self.query_block):
                yield query, key
