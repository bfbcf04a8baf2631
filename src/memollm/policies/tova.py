"""TOVA: what the last query did not look at goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from memollm.memory.tokens import Tokens
from memollm.policies.base import Ranking
from memollm.registry import register


@register("policy", "tova")
@dataclass
class Tova(Ranking):
    """Token omission via attention (Oren et al., 2024, arXiv:2401.06104).

    The tokens that the last query attends to least are forgotten, by its weights averaged over
    query heads, as in the original, and its own token is one of them. The original looks at the
    last query of the whole prompt; here it is that of each chunk.
    """

    columns: ClassVar[Mapping[str, float | None]] = {"attended": 0.0}
    observes: ClassVar[bool] = True

    def observe(
        self,
        state: Mapping[str, Tensor],
        attention: Float[Tensor, "batch queries pairs"],
        queries: Int[Tensor, "batch queries"],
        seen: Int[Tensor, " batch"],
    ) -> None:
        last = queries == (seen - 1)[:, None]
        weights = torch.where(last[:, :, None], attention, 0.0).sum(dim=1)
        attended = state["attended"]
        attended.copy_(torch.where(last.any(dim=1)[:, None], weights, attended))

    def priority(self, tokens: Tokens, keep: Int[Tensor, " batch"]) -> Float[Tensor, "batch pairs"]:
        return tokens.state["attended"].double()
