"""The keys that a query scores highest: an upper bound of what any choice of as many can do."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memollm.attention.patterns.base import ContentPattern, require
from memollm.registry import register


@register("pattern", "topk")
@dataclass
class TopK(ContentPattern):
    """Each query head sees the ``tokens`` keys that it scores highest, and its own token.

    Keys that tie with the last of them are seen, too, so that nothing depends on the order in
    which a cache holds them. Gupta et al., 2021, arXiv:2106.06899. All keys are read to be scored,
    but of the values only those that are chosen.
    """

    tokens: int = 64  # >= 1

    def __post_init__(self) -> None:
        require("tokens", self.tokens, 1)

    @property
    def whole(self) -> float:
        return float(self.tokens)

    def visible(
        self,
        queries: Float[Tensor, "batch heads queries dim"],
        codes: Tensor,
        query_positions: Int[Tensor, "batch queries"],
        key_positions: Int[Tensor, "batch keys"],
    ) -> Bool[Tensor, "batch heads queries keys"]:
        batch, heads, count, dim = queries.shape
        grouped = queries.reshape(batch, codes.shape[1], -1, dim)
        scores = (grouped @ codes.transpose(2, 3)).view(batch, heads, count, -1)
        mine, theirs = query_positions[:, :, None], key_positions[:, None]
        barred = (theirs > mine) | (theirs < 0)
        scores = scores.masked_fill(barred[:, None], -torch.inf)
        most = min(self.tokens, scores.shape[-1])
        least = scores.topk(most, dim=-1).values[..., -1:]
        return (scores >= least) & ~barred[:, None] | (mine == theirs)[:, None]
