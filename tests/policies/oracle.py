"""The oracle of policies: a dense matrix of attention with a growing mask, and plain rules.

It knows no slots, no blocks and no state: after each chunk it has the attention weights of all
queries so far over all tokens so far, 0 where a token was forgotten, and ranks from those alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from memollm.memory.ebbinghaus import Memory
from memollm.policies.h2o import H2O
from memollm.policies.knorm import Knorm
from memollm.policies.random import Random
from memollm.policies.snapkv import Pooling, SnapKV
from memollm.policies.tova import Tova
from memollm.policies.window import Window

Heads = Sequence[Sequence[float]]  # a vector for each head


class Oracle:
    """One layer, one row."""

    def __init__(self, memory: Memory, layer: int = 0) -> None:
        self.memory, self.layer = memory, layer
        self.keys: list[Heads] = []
        self.attention: list[list[float]] = []  # of each query, over the tokens up to its own
        self.forgotten: set[int] = set()

    def kept(self) -> list[int]:
        return [i for i in range(len(self.keys)) if i not in self.forgotten]

    def chunk(self, queries: Sequence[Heads], keys: Sequence[Heads]) -> None:
        """See a chunk of tokens, then forget."""
        first = len(self.keys)
        self.keys += keys
        for offset, heads in enumerate(queries):
            self.attention.append(self._weights(heads, first + offset))
        self.forgotten |= self._dying(len(queries))

    def _weights(self, heads: Heads, own: int) -> list[float]:
        kv_heads, mean = len(self.keys[0]), [0.0] * (own + 1)
        for head, query in enumerate(heads):
            kv = head * kv_heads // len(heads)
            logits = [
                sum(q * k for q, k in zip(query, self.keys[i][kv], strict=True))
                / math.sqrt(len(query))
                if i not in self.forgotten
                else -math.inf
                for i in range(own + 1)
            ]
            top = max(logits)
            shares = [math.exp(logit - top) for logit in logits]
            for i, share in enumerate(shares):
                mean[i] += share / sum(shares) / len(heads)
        return mean

    def _dying(self, chunk: int) -> set[int]:
        memory, seen = self.memory, len(self.keys)
        if not memory.policy.bounded or (isinstance(memory.policy, SnapKV) and chunk == 1):
            return set()
        budget = memory.budget
        keep = (
            budget if isinstance(budget, int) else round(budget * max(seen, memory.budget_length))
        )
        candidates = [i for i in self.kept() if memory.sinks <= i < seen - memory.recent]
        score = self._scores(chunk, keep)
        ranked = sorted(candidates, key=lambda i: (score[i], i))
        return set(ranked[: max(len(self.kept()) - keep, 0)])

    def _scores(self, chunk: int, keep: int) -> dict[int, float]:
        policy, kept, seen = self.memory.policy, self.kept(), len(self.keys)
        match policy:
            case Window():
                return {i: i for i in kept}
            case Random():
                return {i: hashed(policy.seed, self.layer, i) for i in kept}
            case Knorm():
                norms = {i: [math.hypot(*head) for head in self.keys[i]] for i in kept}
                return {i: -sum(some) / len(some) for i, some in norms.items()}
            case Tova():
                return {i: self.attention[-1][i] for i in kept}
            case H2O():
                recent = seen - math.floor(keep * policy.recent_share)
                sums = {i: sum(row[i] for row in self.attention[i:]) for i in kept}
                return {i: math.inf if i >= recent else sums[i] for i in kept}
            case SnapKV():
                return self._snapped(policy, chunk)
        raise AssertionError(policy)

    def _snapped(self, policy: SnapKV, chunk: int) -> dict[int, float]:
        kept, seen = self.kept(), len(self.keys)
        asking = self.attention[-min(chunk, policy.window) :]
        before = [i for i in kept if i < seen - policy.window]
        mean = [sum(row[i] for row in asking) / len(asking) for i in before]
        side = policy.pool // 2
        score = {i: math.inf for i in kept}
        for place, i in enumerate(before):
            around = mean[max(place - side, 0) : place + side + 1]
            score[i] = max(around) if policy.pooling == Pooling.max else sum(around) / policy.pool
        return score


def hashed(seed: int, layer: int, position: int) -> int:
    value = 0
    for part in (seed % 2**31, layer, position):
        value ^= part
        for factor in (0x7FEB352D, 0x046CA68B):
            value = (value ^ value // 2**15) * factor % 2**31
        value ^= value // 2**16
    return value
