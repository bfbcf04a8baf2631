"""H2O: heavy hitters, the tokens that most attention has fallen on, and the newest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from memollm.memory.tokens import Tokens
from memollm.policies.base import FIRST, Ranking
from memollm.registry import register


@register("policy", "h2o")
@dataclass
class H2O(Ranking):
    """Heavy-hitter oracle (Zhang et al., 2023, arXiv:2306.14048).

    Half of the budget is for the newest tokens, the rest for those that the attention weights of
    all queries so far, their own included, add up to most. The original sums in each head; here
    it is the mean over query heads. It evicts after the whole prompt, then at each step; here it
    does after each chunk, too. Sums favour old tokens, which more queries have seen.
    """

    columns: ClassVar[Mapping[str, float | None]] = {"received": 0.0}
    observes: ClassVar[bool] = True

    recent_share: float = 0.5  # of the budget, for the newest tokens; in [0, 1]

    def __post_init__(self) -> None:
        if not 0 <= self.recent_share <= 1:
            raise ValueError(
                f"policy.recent_share={self.recent_share} is not allowed, it must lie in [0, 1]"
            )

    def observe(
        self,
        state: Mapping[str, Tensor],
        attention: Float[Tensor, "batch queries pairs"],
        queries: Int[Tensor, "batch queries"],
        seen: Int[Tensor, " batch"],
    ) -> None:
        state["received"].add_(attention.sum(dim=1))

    def priority(self, tokens: Tokens, keep: Int[Tensor, " batch"]) -> Float[Tensor, "batch pairs"]:
        recent = (keep.double() * self.recent_share).floor()
        newest = tokens.position >= (tokens.seen - recent)[:, None]
        return torch.where(newest, FIRST, tokens.state["received"].double())
