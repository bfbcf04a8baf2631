"""ALiBi: attention with linear biases."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from memollm.attention.positions.base import Heads, KeyHeads, PositionEncoding, Positions
from memollm.registry import register


@register("position_encoding", "alibi")
@dataclass
class ALiBi(PositionEncoding):
    """Scores of head h fall by 2^(-8 h / heads) per token of distance, h = 1 ... heads.

    For a number of heads that is no power of 2: those of the power below, and then every other one
    of the power above. Press et al., 2021, arXiv:2108.12409, and its code.

    >>> ALiBi().slopes(4)
    tensor([0.2500, 0.0625, 0.0156, 0.0039])
    """

    def require(self, head_dim: int, causal: bool) -> None:
        return None

    def turned(
        self, queries: Heads, keys: KeyHeads, positions: Positions
    ) -> tuple[Heads, KeyHeads]:
        return queries, keys

    def slopes(self, heads: int) -> Float[Tensor, " heads"] | None:
        below = 2 ** math.floor(math.log2(heads))
        exponents = [8 * h / below for h in range(1, below + 1)]
        exponents += [4 * h / below for h in range(1, 2 * (heads - below), 2)]
        return torch.tensor([2.0**-it for it in exponents])
