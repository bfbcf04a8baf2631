"""BigBird: neighbours, global tokens and random blocks."""

from __future__ import annotations

from dataclasses import dataclass

from memollm.attention.mechanisms.base import require_whole
from memollm.attention.mechanisms.blocked import Blocked, drawn, near
from memollm.registry import register


@register("mechanism", "bigbird")
@dataclass
class BigBird(Blocked):
    """softmax over neighbouring blocks, the first ``global_blocks``, and some drawn by lot.

    Global blocks see all blocks. What is drawn follows from ``seed`` and the block alone, in
    training and afterwards. O(N block_size (neighbours + global_blocks + random_blocks)) time,
    O(N) memory. Zaheer et al., 2020, arXiv:2007.14062 (its ITC form).
    Oracle: dense attention under ``visible``; all blocks global is ``full``.
    """

    neighbours: int = 1  # blocks to each side, >= 0
    global_blocks: int = 1  # the first ones, >= 0
    random_blocks: int = 3  # >= 0
    seed: int = 0

    def __post_init__(self) -> None:
        Blocked.__post_init__(self)
        require_whole("neighbours", self.neighbours, 0)
        require_whole("global_blocks", self.global_blocks, 0)
        require_whole("random_blocks", self.random_blocks, 0)

    def blocks(self, block: int, last: int) -> set[int]:
        every = set(range(last + 1))
        if block < self.global_blocks:
            return every
        seen = near(block, last, self.neighbours) | set(range(min(self.global_blocks, last + 1)))
        return seen | drawn(block, every - seen, self.random_blocks, self.seed)
