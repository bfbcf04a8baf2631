"""Knorm: keys of a small norm stay."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from memollm.memory.tokens import Tokens
from memollm.policies.base import Ranking
from memollm.registry import register


@register("policy", "knorm")
@dataclass
class Knorm(Ranking):
    """Low key norms (Devoto et al., 2024, arXiv:2406.11430): small keys are those attended to.

    The original ranks in each key-value head; here it is the mean norm over heads, as the keys
    lie in the cache (rotations do not change a norm). It may leave some layers alone; here
    ``layer_fraction`` chooses the layers, the first ones.
    """

    def priority(self, tokens: Tokens, keep: Int[Tensor, " batch"]) -> Float[Tensor, "batch pairs"]:
        return -torch.linalg.vector_norm(tokens.keys, dim=-1, dtype=torch.float64).mean(dim=1)
