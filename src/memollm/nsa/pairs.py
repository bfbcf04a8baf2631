"""Who looks into a block: the chosen (query, block) pairs, in the order of their blocks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor


@dataclass(frozen=True)
class Pairs:
    """The queries of every block, those of one block beside each other and in rising order."""

    queries: Int[Tensor, " pairs"]
    bounds: list[int]  # block c has queries[bounds[c] : bounds[c + 1]]
    inside: list[int]  # how many of them, the first ones, lie inside the block: it is cut for them

    def of_block(self, block: int, limit: int) -> list[tuple[Int[Tensor, " queries"], int]]:
        """The queries of one block in runs of up to ``limit``, and how many of each lie inside."""
        start, end = self.bounds[block], self.bounds[block + 1]
        inside = start + self.inside[block]
        runs = ((at, min(at + limit, end)) for at in range(start, end, limit))
        return [(self.queries[a:z], max(0, min(inside, z) - a)) for a, z in runs]


def by_block(
    indices: Int[Tensor, "queries selected"], first: int, block_size: int, blocks: int
) -> Pairs:
    """The pairs that ``indices`` name; no block twice, none from a query's future.

    >>> by_block(torch.tensor([[0, -1], [0, 0], [1, 0]]), first=0, block_size=2, blocks=2)
    Pairs(queries=tensor([0, 1, 2, 2]), bounds=[0, 3, 4], inside=[1, 1])
    """
    count = len(indices)
    query = torch.arange(count, device=indices.device)
    own = (query + first) // block_size
    allowed = (indices >= 0) & (indices <= own[:, None])
    # One integer for both, so that a single sort puts blocks and queries in order.
    pairs = (indices * count + query[:, None])[allowed].sort().values
    if len(pairs):
        fresh = torch.ones_like(pairs, dtype=torch.bool)
        torch.ne(pairs[1:], pairs[:-1], out=fresh[1:])
        pairs = pairs[fresh]
    block, queries = pairs // count, pairs % count
    sizes = torch.bincount(block, minlength=blocks)
    sees_all = queries + first >= (block + 1) * block_size - 1
    inside = torch.bincount(block[~sees_all], minlength=blocks)
    return Pairs(queries, [0, *sizes.cumsum(0).tolist()], inside.tolist())
