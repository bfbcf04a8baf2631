"""The oracle: the memory's rules in plain Python, one number at a time.

Slow, and made to be read beside the rules; every implementation is tested against it. It knows no
tensors, no blocks and no shortcuts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

Vector = Sequence[float]


@dataclass
class Token:
    """One cached token: its pair for every head, and its memory."""

    position: int
    keys: Sequence[Vector]  # per key-value head
    values: Sequence[Vector]
    strength: float
    steps: int = 0  # tokens since insertion or the last recall; t_i = steps * time_step
    forgotten: bool = False
    weights: dict[str, float] = field(default_factory=dict)  # attenuations, by what they apply to


@dataclass
class Oracle:
    """One memory layer of one sequence; the fields are those of ``Memory`` and of the modes."""

    strength: float = 5.0
    time_step: float = 0.01
    reinforcement: float = 1.0
    recall_threshold: float | None = 0.01
    threshold: float | Callable[[Oracle], float] = (
        0.01  # or what makes it, asked at each chunk's end
    )
    budget: float | int | None = None
    sinks: int = 4
    recent: int = 16
    window: int | None = None  # last queries of a chunk of several that rehearse; None: all do
    retention: Callable[[float, float], float] = lambda age, strength: math.exp(-age / strength)
    target: str | None = None  # soft_delete: key, value, both, logit_bias; None: sparse_attention
    floor: float = 0.8
    compounding: bool = False
    budget_length: int = 0  # a share is taken of as many tokens at least
    by_recall: bool = False  # each recall strengthens by one unit, and nothing else does
    tokens: list[Token] = field(default_factory=list)

    def chunk(
        self,
        queries: Sequence[Sequence[Vector]],
        keys: Sequence[Sequence[Vector]],
        values: Sequence[Sequence[Vector]],
    ) -> list[list[Vector]]:
        """One chunk of tokens, from being cached to the end of its rehearsal; the outputs."""
        first = len(self.tokens)
        new = [
            Token(first + i, k, v, self.strength)
            for i, (k, v) in enumerate(zip(keys, values, strict=True))
        ]
        self.tokens += new
        silent = 0 if self.window is None or len(new) == 1 else len(new) - self.window
        return [
            self._query(heads, token.position, rehearses=i >= silent)
            for i, (heads, token) in enumerate(zip(queries, new, strict=True))
        ]

    def ballot(self) -> set[int]:
        """Positions that this layer would forget now."""
        if self.budget is None:
            threshold = self.threshold(self) if callable(self.threshold) else self.threshold
            return {t.position for t in self.mortal() if self.left(t) < threshold}
        present = len(self.kept())
        weakest = sorted(self.mortal(), key=lambda t: (self.left(t), t.position))
        return {t.position for t in weakest[: max(present - self.allowed(), 0)]}

    def mortal(self) -> list[Token]:
        """Tokens that may be forgotten now."""
        return [t for t in self.tokens if not t.forgotten and not self._protected(t)]

    def allowed(self) -> int:
        """Tokens that the budget leaves room for."""
        assert self.budget is not None
        seen = len(self.tokens)
        if isinstance(self.budget, int):
            return self.budget
        return round(self.budget * max(seen, self.budget_length))

    def left(self, token: Token) -> float:
        """R of a token."""
        return self.retention(token.steps * self.time_step, token.strength)

    def settle(self, dying: set[int]) -> None:
        """Forget what was decided, and attenuate what fades."""
        for token in self.tokens:
            token.forgotten |= token.position in dying
            if self.target is None:
                continue
            left = 1.0 if self._protected(token) else self.left(token)
            weight = min(max(left, self.floor), 1.0)
            for part in ("key", "value") if self.target == "both" else (self.target,):
                before = token.weights.get(part, 1.0) if self.compounding else 1.0
                token.weights[part] = before * weight

    def kept(self) -> list[int]:
        """Positions that are not forgotten."""
        return [t.position for t in self.tokens if not t.forgotten]

    def attend(self, received: Mapping[int, float], query: int, rehearses: bool = True) -> None:
        """One query passes: time, for all older tokens, and attention, for those it saw.

        Args:
            received: attention weight of each token that the query saw, by position.
            query: position of the query; its own token is rehearsed by later ones alone.
            rehearses: whether its attention counts.
        """
        for t in self.tokens:
            if t.position >= query:
                continue
            t.steps += 1
            if not rehearses or t.position not in received:
                continue
            weight, least = received[t.position], self.recall_threshold
            recalled = least is not None and weight >= least
            t.strength += self.reinforcement * (recalled if self.by_recall else weight)
            if recalled:
                t.steps = 0

    def _query(self, heads: Sequence[Vector], position: int, rehearses: bool) -> list[Vector]:
        seen = [
            t
            for t in self.tokens
            if t.position <= position and (self.target is not None or not t.forgotten)
        ]
        kv_heads = len(self.tokens[0].keys)
        outputs, received = [], dict.fromkeys((t.position for t in seen), 0.0)
        for head, query in enumerate(heads):
            kv = head * kv_heads // len(heads)
            logits = []
            for t in seen:
                dot = sum(q * k for q, k in zip(query, t.keys[kv], strict=True))
                logit = dot / math.sqrt(len(query)) * t.weights.get("key", 1.0)
                bias = t.weights.get("logit_bias", 1.0)
                logits.append(logit + math.log(bias) if bias > 0 else -math.inf)
            top = max(logits)
            shares = [math.exp(logit - top) for logit in logits]
            total = sum(shares)
            out = [0.0] * len(seen[0].values[kv])
            for t, share in zip(seen, shares, strict=True):
                received[t.position] += share / total / len(heads)
                scale = share / total * t.weights.get("value", 1.0)
                out = [o + scale * v for o, v in zip(out, t.values[kv], strict=True)]
            outputs.append(out)
        self.attend(received, position, rehearses)
        return outputs

    def _protected(self, token: Token) -> bool:
        return token.position < self.sinks or token.position >= len(self.tokens) - self.recent
