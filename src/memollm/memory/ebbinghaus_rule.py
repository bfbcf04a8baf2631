"""The rule of the forgetting curve: who has faded below the threshold, or fades past a budget."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memollm.memory.ebbinghaus import Memory
from memollm.memory.forgetting import faded
from memollm.memory.lowest import lowest
from memollm.memory.rehearsal import rehearse
from memollm.memory.rule import FadingRule, Gains
from memollm.memory.strength.base import Source
from memollm.memory.threshold import Threshold
from memollm.memory.tokens import Tokens


class EbbinghausRule(FadingRule):
    """Strength and last recall of each token, by birth and rehearsal; death by retention."""

    def __init__(self, memory: Memory, threshold: Threshold, source: Source | None = None) -> None:
        """``source`` gives new tokens their strength; None: all the memory's."""
        self.memory, self.threshold, self.schedule = memory, threshold, memory.schedule
        if threshold.value is not None:
            self.rows = memory.schedule.rows(threshold.value)
        self.columns: Mapping[str, float | None] = {"strength": memory.strength, "recalled": None}
        gains = bool(memory.reinforcement) or memory.recall_threshold is not None
        self.observes = memory.birth.rehearses and gains
        if self.observes and not memory.retention.by_recall:
            self.gains = Gains(memory.reinforcement, memory.recall_threshold)
        self.source = source
        if source is not None:
            self.given = frozenset({"strength"})

    def born(
        self,
        keys: Float[Tensor, "rows kv_heads new dim"],
        inputs: Float[Tensor, "batch new width"] | None,
    ) -> Mapping[str, Float[Tensor, "rows new"]]:
        return {} if self.source is None else {"strength": self.source(keys, inputs)}

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
            self.memory.retention.by_recall,
        )  # fmt: skip

    def dying(self, tokens: Tokens) -> Bool[Tensor, "batch pairs"]:
        retention = self.retention(tokens)
        if self.threshold.value is None:
            keep = [self.threshold.keep(seen) for seen in tokens.seen.tolist()]
            kept = torch.tensor(keep, device=retention.device)
            return lowest(retention, tokens, kept, self.memory.floor)
        threshold = self.schedule.threshold(self.threshold.value, tokens)
        dying = faded(retention, threshold, tokens.spared) & tokens.present
        if self.schedule.moves:
            self.schedule.settle(retention, self._spent(tokens), tokens, self.memory.retention)
        return dying

    def retention(self, tokens: Tokens) -> Float[Tensor, "batch pairs"]:
        """In float64: the threshold is one number, whatever the model's dtype."""
        age, strength = self._age(tokens), tokens.state["strength"].double()
        return self.memory.retention.retention(age, strength)

    def now(self, tokens: Tokens) -> float | None:
        """The threshold that holds, mean over rows; None: a budget decides."""
        if self.threshold.value is None:
            return None
        held = self.schedule.threshold(self.threshold.value, tokens)
        return float(torch.as_tensor(held, dtype=torch.float64).mean())

    def idle(self, tokens: Tokens) -> float:
        """Until the first death: strengths only grow, clocks only restart.

        One less than the exact bound, so that rounding here can never delay a death.
        """
        memory, state = self.memory, tokens.state
        if self.threshold.value is None:
            return 0.0
        threshold, ahead = self.schedule.highest(self.threshold.value, tokens)
        if not threshold or not ahead:
            return ahead
        life = memory.retention.lifetime(threshold) / memory.time_step
        death = state["recalled"] + state["strength"] * life
        death = torch.maximum(death, (tokens.position + memory.recent).to(death.dtype))
        mortal = tokens.present & (tokens.position >= memory.sinks)
        left = torch.where(mortal, death - tokens.seen[:, None], torch.inf)
        newborn = memory.recent
        if self.source is None:
            newborn = max(memory.strength * life, newborn)
        return float(min(math.floor(min(float(left.min()), newborn)) - 1, ahead))

    def _age(self, tokens: Tokens) -> Float[Tensor, "batch pairs"]:
        recalled = tokens.state["recalled"]
        return (tokens.seen[:, None] - 1 - recalled).double() * self.memory.time_step

    def _spent(self, tokens: Tokens) -> Float[Tensor, "batch pairs"]:
        return self._age(tokens) / tokens.state["strength"].double()
