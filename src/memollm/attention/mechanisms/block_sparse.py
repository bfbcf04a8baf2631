"""Block-sparse attention: the blocks around one's own, and the first ones."""

from __future__ import annotations

from dataclasses import dataclass

from memollm.attention.mechanisms.base import require_whole
from memollm.attention.mechanisms.blocked import Blocked, near
from memollm.registry import register


@register("mechanism", "block_sparse")
@dataclass
class BlockSparse(Blocked):
    """softmax over the own block, ``neighbours`` to each side, and the first ``global_blocks``.

    With no neighbours and no global blocks it is block-diagonal. O(N block_size (neighbours +
    global_blocks)) time, O(N) memory. Blocks as in Qiu et al., 2019, arXiv:1911.02972, and
    Child et al., 2019, arXiv:1904.10509.
    Oracle: dense attention under ``visible``; all blocks neighbours is ``full``.
    """

    neighbours: int = 1  # blocks, >= 0
    global_blocks: int = 1  # the first ones, >= 0

    def __post_init__(self) -> None:
        Blocked.__post_init__(self)
        require_whole("neighbours", self.neighbours, 0)
        require_whole("global_blocks", self.global_blocks, 0)

    def blocks(self, block: int, last: int) -> set[int]:
        return near(block, last, self.neighbours) | set(range(min(self.global_blocks, last + 1)))
