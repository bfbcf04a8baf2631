"""The rule of the forgetting curve: who has faded below the threshold, or fades past a budget."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memollm.memory.ebbinghaus import Memory
from memollm.memory.forgetting import faded, over_budget
from memollm.memory.rehearsal import rehearse
from memollm.memory.rule import FadingRule
from memollm.memory.threshold import Threshold
from memollm.memory.tokens import Tokens


class EbbinghausRule(FadingRule):
    """Strength and last recall of each token, by rehearsal; death by retention."""

    def __init__(self, memory: Memory, threshold: Threshold) -> None:
        self.memory, self.threshold = memory, threshold
        self.columns: Mapping[str, float | None] = {"strength": memory.strength, "recalled": None}
        self.observes = bool(memory.reinforcement) or memory.recall_threshold is not None

    def observe(
        self,
        state: Mapping[str, Tensor],
        attention: Float[Tensor, "batch queries pairs"],
        queries: Int[Tensor, "batch queries"],
        seen: Int[Tensor, " batch"],
    ) -> None:
        own = attention.shape[2] - attention.shape[1]
        attention.diagonal(offset=own, dim1=1, dim2=2).zero_()  # rehearsed by later queries alone
        rehearse(
            state["strength"], state["recalled"], attention, queries,
            self.memory.reinforcement, self.memory.recall_threshold,
        )  # fmt: skip

    def dying(self, tokens: Tokens) -> Bool[Tensor, "batch pairs"]:
        retention = self.retention(tokens)
        if self.threshold.budget is None:
            assert self.threshold.value is not None
            return faded(retention, self.threshold.value, tokens.spared) & tokens.present
        keep = [self.threshold.keep(seen) for seen in tokens.seen.tolist()]
        return over_budget(
            retention, tokens.position, tokens.present, tokens.spared,
            torch.tensor(keep, device=retention.device),
        )  # fmt: skip

    def retention(self, tokens: Tokens) -> Float[Tensor, "batch pairs"]:
        """In float64: the threshold is one number, whatever the model's dtype."""
        state, memory = tokens.state, self.memory
        age = (tokens.seen[:, None] - 1 - state["recalled"]).double() * memory.time_step
        return memory.retention.retention(age, state["strength"].double())

    def idle(self, tokens: Tokens) -> float:
        """Until the first death: strengths only grow, clocks only restart.

        One less than the exact bound, so that rounding here can never delay a death.
        """
        threshold, memory, state = self.threshold.value, self.memory, tokens.state
        if self.threshold.budget is not None:
            return 0.0
        if not threshold:
            return math.inf
        life = memory.retention.lifetime(threshold) / memory.time_step
        death = state["recalled"] + state["strength"] * life
        death = torch.maximum(death, (tokens.position + memory.recent).to(death.dtype))
        mortal = tokens.present & (tokens.position >= memory.sinks)
        left = torch.where(mortal, death - tokens.seen[:, None], torch.inf)
        newborn = max(memory.strength * life, memory.recent)
        return float(math.floor(min(float(left.min()), newborn)) - 1)
