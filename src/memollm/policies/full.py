"""Full: the machinery runs, and nobody is forgotten."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from memollm.memory.tokens import Tokens
from memollm.policies.base import Ranking
from memollm.registry import register


@register("policy", "full")
@dataclass
class Full(Ranking):
    """Keeps every token, in the memory's store: what that store costs, and changes, by itself.

    No budget binds it; a sweep over budgets runs it once.
    """

    bounded: ClassVar[bool] = False
    ignored: ClassVar[frozenset[str]] = Ranking.ignored | {
        "sinks",
        "recent",
        "head_budgets",
        "head_floor",
    }

    def priority(self, tokens: Tokens, keep: Int[Tensor, " batch"]) -> Float[Tensor, "batch pairs"]:
        return torch.zeros_like(tokens.position, dtype=torch.float64)
