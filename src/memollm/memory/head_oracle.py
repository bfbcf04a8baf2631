"""The oracle of a memory for each key-value head: as many plain-Python memories as heads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from memollm.memory.oracle import Oracle, Vector

Heads = Sequence[Vector]  # a vector for each head


@dataclass
class HeadOracle:
    """One layer of one sequence whose key-value heads each forget for themselves.

    Each head is an ``Oracle`` with one key-value head and the query heads that share it. With a
    ``floor`` they share the sum of their budgets; see ``share_budget``.
    """

    heads: list[Oracle]
    floor: float | None = None

    def chunk(
        self, queries: Sequence[Heads], keys: Sequence[Heads], values: Sequence[Heads]
    ) -> list[list[Vector]]:
        """One chunk of tokens; the outputs of all query heads, then what is forgotten."""
        group = len(queries[0]) // len(self.heads)
        outs: list[list[Vector]] = [[] for _ in queries]
        for number, head in enumerate(self.heads):
            own = slice(number * group, (number + 1) * group)
            found = head.chunk(
                [token[own] for token in queries],
                [token[number : number + 1] for token in keys],
                [token[number : number + 1] for token in values],
            )
            for out, part in zip(outs, found, strict=True):
                out += part
        dying = [it.ballot() for it in self.heads] if self.floor is None else self.share_budget()
        for head, positions in zip(self.heads, dying, strict=True):
            head.settle(positions)
        return outs

    def share_budget(self) -> list[set[int]]:
        """What each head forgets: the lowest retention of all heads, past each head's floor.

        A head's floor is a share of its own budget: the tokens that are kept if it had no more.
        """
        assert self.floor is not None
        candidates = []
        for number, head in enumerate(self.heads):
            weakest = sorted(head.mortal(), key=lambda t: (head.left(t), t.position))
            beyond = max(len(head.kept()) - math.floor(head.allowed() * self.floor), 0)
            candidates += [(head.left(t), t.position, number) for t in weakest[:beyond]]
        excess = sum(len(it.kept()) - it.allowed() for it in self.heads)
        lost = sorted(candidates)[: max(excess, 0)]
        return [{p for _, p, n in lost if n == number} for number in range(len(self.heads))]
