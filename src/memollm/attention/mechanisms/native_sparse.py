"""Native sparse attention, as a mechanism with learned gates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from memollm.attention.mechanisms.base import (
    HeadShape,
    Keys,
    Mechanism,
    Output,
    Queries,
    Supports,
    Values,
    require_whole,
)
from memollm.attention.mechanisms.cache import Cache, PairCache
from memollm.attention.mechanisms.scope import Scope
from memollm.nsa import nsa_func
from memollm.nsa.means import BlockMeans
from memollm.registry import register


class Gates(nn.Module):
    """How much each of the three branches counts, per token and head, from its hidden state."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.gates = nn.Linear(width, 3 * heads)

    def forward(self, hidden: Tensor) -> tuple[Tensor, ...]:
        """Three times (batch, queries, heads), each in (0, 1)."""
        return self.gates(hidden).sigmoid().chunk(3, dim=-1)


@register("mechanism", "nsa")
@dataclass
class NativeSparse(Mechanism):
    """o = g_cmp attention(block means) + g_slc attention(chosen blocks) + g_swa attention(window).

    Blocks are chosen by the attention that their means get. O(N (N / block_size + block_counts
    block_size + window_size)) time, O(N) memory. Yuan et al., 2025, arXiv:2502.11089; see
    ``memollm.nsa``.
    Oracle: each branch written out; with all blocks chosen and g_slc alone it is ``full``.
    """

    supports: ClassVar[Supports] = Supports(
        bidirectional=False, mask=False, cross=False, slopes=False
    )

    block_size: int = 64  # tokens, >= 1
    block_counts: int = 16  # blocks of a query, >= 1
    window_size: int = 512  # tokens, >= 0

    def __post_init__(self) -> None:
        require_whole("block_size", self.block_size, 1)
        require_whole("block_counts", self.block_counts, 1)
        require_whole("window_size", self.window_size, 0)

    def weights(self, shape: HeadShape) -> Gates:
        return Gates(shape.width, shape.heads)

    def compute(
        self, queries: Queries, keys: Keys, values: Values, scope: Scope, weights: nn.Module | None
    ) -> Output:
        return self.gated(queries, keys, values, scope, weights, None)

    def gated(
        self,
        queries: Queries,
        keys: Keys,
        values: Values,
        scope: Scope,
        weights: nn.Module | None,
        means: BlockMeans | None,
    ) -> Output:
        """The same, by block means that are at hand."""
        if not isinstance(weights, Gates) or scope.hidden is None:
            raise ValueError(
                "nsa needs the weights that it makes and the hidden states that its gates are of "
                f"(scope.hidden), got {weights!r} and {type(scope.hidden).__name__}"
            )
        q, k, v = (it.transpose(1, 2) for it in (queries, keys, values))
        gates = weights(scope.hidden)
        return nsa_func(
            q, k, v, *gates, block_size=self.block_size, block_counts=self.block_counts,
            window_size=self.window_size, scale=scope.scale, means=means,
        ).transpose(1, 2)  # fmt: skip

    def cache(self) -> Cache:
        return MeansCache(self)


class MeansCache(Cache):
    """All keys and values, and the means of their complete blocks: a step reads few of the keys."""

    def __init__(self, mechanism: NativeSparse) -> None:
        self._mechanism = mechanism
        self._pairs = PairCache(mechanism.attend)
        self._means = BlockMeans(mechanism.block_size)

    def attend(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        scope: Scope | None = None,
        weights: nn.Module | None = None,
    ) -> Tensor:
        scope = scope or Scope()
        self._mechanism.require(scope, cached=True)
        self._means.append(keys.transpose(1, 2).detach(), values.transpose(1, 2).detach())
        keys, values = self._pairs.append(keys, values)
        self.tokens = self._pairs.tokens
        if scope.padding is not None:  # the blocks of a row without its pads are others
            return self._mechanism.attend(queries, keys, values, scope, weights)
        return self._mechanism.gated(queries, keys, values, scope, weights, self._means)
