"""The rule of a ranking: the lowest priorities are forgotten until the budget is met."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memollm.memory.lowest import lowest
from memollm.memory.rule import Rule
from memollm.memory.threshold import Threshold
from memollm.memory.tokens import Tokens
from memollm.policies.base import Ranking


class BudgetRule(Rule):
    """A policy's ranking and a budget; without one, all tokens are kept."""

    def __init__(self, policy: Ranking, threshold: Threshold, floor: float | None = None) -> None:
        """``floor``: None, or that heads share the budget; see ``memory.lowest``."""
        self.policy, self.threshold, self.floor = policy, threshold, floor
        self.columns = policy.columns
        self.observes = policy.observes

    def observe(
        self,
        state: Mapping[str, Tensor],
        attention: Float[Tensor, "batch queries pairs"],
        queries: Int[Tensor, "batch queries"],
        seen: Int[Tensor, " batch"],
    ) -> None:
        self.policy.observe(state, attention, queries, seen)

    def dying(self, tokens: Tokens) -> Bool[Tensor, "batch pairs"]:
        keep = self._keep(tokens.seen)
        priority = self.policy.priority(tokens, keep)
        return lowest(priority, tokens, keep, self.floor) & self.policy.acts(tokens)[:, None]

    def idle(self, tokens: Tokens) -> float:
        """A fixed number of tokens has room for as many as are missing; a share grows with them."""
        budget = self.threshold.budget
        if budget is None:
            return math.inf
        if isinstance(budget, float):
            return 0.0
        present = tokens.present.sum(dim=1)
        if self.floor is None:
            return float(max(budget - int(present.max()), 0))
        together = int(present.view(-1, tokens.heads).sum(dim=1).max())
        return float(max(budget - -(-together // tokens.heads), 0))

    def _keep(self, seen: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        if self.threshold.budget is None:
            return seen
        keep = [self.threshold.keep(it) for it in seen.tolist()]
        return torch.tensor(keep, dtype=seen.dtype, device=seen.device)
