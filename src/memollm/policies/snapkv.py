"""SnapKV: the end of a prompt tells what of it will be needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memollm.memory.tokens import Tokens
from memollm.policies.base import FIRST, Ranking
from memollm.registry import register


class Pooling(StrEnum):
    """How a token's neighbours speak for it."""

    avg = "avg"
    max = "max"


@register("policy", "snapkv")
@dataclass
class SnapKV(Ranking):
    """The attention of the prompt's last queries, pooled (Li et al., 2024, arXiv:2404.14469).

    A token's priority is the mean weight that the last ``window`` queries of the chunk gave it,
    pooled over ``pool`` neighbours among the cached tokens before the window, in the order of
    their positions (avg: zeros beyond the ends, as in the published code, whose defaults these
    are). The window itself is kept, its newest tokens first where the budget is smaller.

    Prompt only: a chunk of one token is a decoding step and forgets nothing, so that the cache
    grows while text is generated. The original ranks in each head and looks at the prompt once;
    here it is the mean over query heads, at the end of each chunk of it. A ``prefill_chunk`` no
    shorter than the prompt is the original's single look.
    """

    columns: ClassVar[Mapping[str, float | None]] = {
        "asked": 0.0,  # attention of the chunk's last queries, summed
        "chunk": None,  # position of the last token of the chunk that ``asked`` is of
        "queries": 0.0,  # of that chunk
    }
    observes: ClassVar[bool] = True

    window: int = 32  # last queries of the chunk; >= 1
    pool: int = 5  # neighbouring tokens, the token's own in the middle; odd, >= 1
    pooling: Pooling = Pooling.avg

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError(f"policy.window={self.window} is not allowed, it must be >= 1")
        if self.pool < 1 or self.pool % 2 == 0:
            raise ValueError(f"policy.pool={self.pool} is not allowed, it must be odd and >= 1")

    def observe(
        self,
        state: Mapping[str, Tensor],
        attention: Float[Tensor, "batch queries pairs"],
        queries: Int[Tensor, "batch queries"],
        seen: Int[Tensor, " batch"],
    ) -> None:
        last = (seen - 1)[:, None]
        real = queries >= 0
        older = (state["chunk"] != last) & real.any(dim=1)[:, None]  # state of an earlier chunk
        state["asked"].masked_fill_(older, 0.0)
        state["queries"].masked_fill_(older, 0.0)
        state["chunk"].copy_(torch.where(older, last, state["chunk"]))
        asking = real & (queries > last - self.window)
        state["asked"].add_(torch.where(asking[:, :, None], attention, 0.0).sum(dim=1))
        state["queries"].add_(real.sum(dim=1, keepdim=True))

    def priority(self, tokens: Tokens, keep: Int[Tensor, " batch"]) -> Float[Tensor, "batch pairs"]:
        newest = tokens.position >= (tokens.seen - self.window)[:, None]
        before = tokens.present & ~newest
        pooled = self._pooled(tokens.state["asked"].double(), tokens.position, before)
        return torch.where(newest, FIRST, pooled)

    def acts(self, tokens: Tokens) -> Bool[Tensor, " batch"]:
        return (tokens.state["queries"] * tokens.present).amax(dim=1) > 1

    def _pooled(
        self,
        asked: Float[Tensor, "batch pairs"],
        position: Int[Tensor, "batch pairs"],
        before: Bool[Tensor, "batch pairs"],
    ) -> Float[Tensor, "batch pairs"]:
        beyond = torch.iinfo(position.dtype).max
        order = torch.where(before, position, beyond).argsort(dim=1)
        ordered = torch.where(before, asked, 0.0).gather(1, order)
        pool = {
            Pooling.avg: torch.nn.functional.avg_pool1d,
            Pooling.max: torch.nn.functional.max_pool1d,
        }[self.pooling]
        pooled = pool(ordered[:, None], self.pool, stride=1, padding=self.pool // 2)[:, 0]
        return torch.empty_like(asked).scatter_(1, order, pooled)
