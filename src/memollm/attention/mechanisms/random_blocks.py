"""Random attention: blocks by lot."""

from __future__ import annotations

from dataclasses import dataclass

from memollm.attention.mechanisms.base import require_whole
from memollm.attention.mechanisms.blocked import Blocked, drawn
from memollm.registry import register


@register("mechanism", "random")
@dataclass
class Random(Blocked):
    """softmax over the own block and ``random_blocks`` others.

    Which ones follows from ``seed`` and the block alone, in training and afterwards; a cache sees
    the same. O(N block_size random_blocks) time, O(N) memory. BigBird's first part (Zaheer et
    al., 2020, arXiv:2007.14062), by itself.
    Oracle: dense attention under ``visible``; as many blocks as there are is ``full``.
    """

    random_blocks: int = 3  # >= 0
    seed: int = 0

    def __post_init__(self) -> None:
        Blocked.__post_init__(self)
        require_whole("random_blocks", self.random_blocks, 0)

    def blocks(self, block: int, last: int) -> set[int]:
        others = set(range(last + 1)) - {block}
        return {block} | drawn(block, others, self.random_blocks, self.seed)
