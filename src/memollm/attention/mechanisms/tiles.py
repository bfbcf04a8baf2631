"""Softmax attention tile by tile: only the queries and keys that meet, one tile at a time.

A tile is some queries and some keys, wherever they lie; the tiles together say who sees whom. A
query may occur in several: softmax is then online (Milakov & Gimelshein, 2018, arXiv:1805.02867),
and a pair that occurs twice counts twice. The backward pass makes the weights of a tile again from
the log-sum-exp (Dao et al., 2022, arXiv:2205.14135, algorithm 4), so that memory is in O(queries)
beside one tile's scores. Scores and sums are in float32 at least.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from memollm.attention.mechanisms.scope import Scope
from memollm.nsa.layout import exact, wide
from memollm.nsa.tile import BIT, gradients, lowest, powers, unnormalised

Indices: TypeAlias = slice | Int[Tensor, "_"]

# Scores held at a time: what stays in a processor's cache, or fills a GPU.
SCORES_AT_A_TIME = {"cpu": 2**17, "gpu": 2**25}
LEAST_ROWS = 32  # queries of a tile: fewer would make the matrix products thin
LEAST_BAND = 64  # queries that share the keys of a narrow window


@dataclass(frozen=True)
class Tile:
    """Some queries and some keys, by index, and the pairs among them that do not meet."""

    queries: Indices
    keys: Indices
    # Which keys of the tile (a slice of them) are hidden from which of its queries.
    hidden: tuple[tuple[slice, Bool[Tensor, "_ _"]], ...] = ()


@dataclass(frozen=True)
class Span:
    """What a mechanism makes tiles for: the tokens, of which the last ones are the queries."""

    first: int  # position of the first query
    tokens: int
    causal: bool
    device: torch.device
    heads: int  # of all rows together

    def rows(self, keys: int) -> int:
        """How many queries to take at a time, if each sees so many keys."""
        budget = SCORES_AT_A_TIME["cpu" if self.device.type == "cpu" else "gpu"]
        return max(LEAST_ROWS, budget // (self.heads * max(keys, 1)))

    def band(self, window: int) -> int:
        """The same for neighbours that see their own windows, which differ by their distance."""
        return min(self.rows(window), max(LEAST_BAND, window))

    def positions(self, start: int, stop: int) -> Int[Tensor, " positions"]:
        return torch.arange(start, stop, device=self.device)


Tiles = Callable[[Span], Iterator[Tile]]


def tiled_attention(
    queries: Tensor, keys: Tensor, values: Tensor, scope: Scope, tiles: Tiles, once: bool
) -> tuple[Tensor, Tensor]:
    """Outputs (batch, heads, queries, value_dim) and log-sum-exp (batch, heads, queries).

    Both are float32 at least, and 0 for a query that sees nothing; the log-sum-exp is not
    differentiable, and empty where every query occurs once and no gradient needs it.

    Args:
        queries: (batch, heads, queries, dim).
        keys: (batch, kv_heads, keys, dim).
        values: (batch, kv_heads, keys, value_dim).
        scope: its mask, padding, slopes and scale hold; ``causal`` is for the tiles to honour.
        tiles: makes the tiles, the same ones each time.
        once: whether each query occurs in one tile only, which is faster.
    """
    scale = queries.shape[-1] ** -0.5 if scope.scale is None else scope.scale
    heads = queries.shape[0] * queries.shape[1]
    tokens = keys.shape[2]
    span = Span(tokens - queries.shape[2], tokens, scope.causal, queries.device, heads)
    plan = _Plan(span, tiles, once, scope, scale)
    learning = torch.is_grad_enabled() and any(it.requires_grad for it in (queries, keys, values))
    with exact(queries):
        if learning or not once:
            return _Tiled.apply(queries, keys, values, plan)  # type: ignore
        outputs = queries.new_zeros(*queries.shape[:3], values.shape[-1], dtype=wide(queries.dtype))
        _at_once(queries, keys, values, plan, outputs, None)
        return outputs, queries.new_empty(0)


@dataclass(frozen=True)
class _Plan:
    span: Span
    tiles: Tiles
    once: bool
    scope: Scope
    scale: float

    def scores(
        self, tile: Tile, queries: Tensor, keys: Tensor
    ) -> tuple[
        Float[Tensor, "batch kv_heads group queries keys"], Tensor, Float[Tensor, "b kv keys dim"]
    ]:
        """Scores of a tile in bits, as low as can be where hidden; queries so scaled; keys."""
        dtype, kv_heads = wide(queries.dtype), keys.shape[1]
        rows = folded(queries[:, :, tile.queries], kv_heads).to(dtype) * (self.scale / BIT)
        some = keys[:, :, tile.keys].to(dtype)
        group = queries.shape[1] // kv_heads
        scores = (rows @ some.mT).unflatten(2, (group, -1))
        low = lowest(dtype)
        if self.scope.slopes is not None:
            slopes = self.scope.slopes.to(dtype).view(kv_heads, group, 1, 1)
            scores.sub_(slopes / BIT * self._distances(tile).to(dtype))
        for part, hidden in tile.hidden:
            scores[..., part].masked_fill_(hidden, low)
        if self.scope.mask is not None:
            mask = self.scope.mask[:, :, tile.queries][..., tile.keys]
            per_head = len(mask[0]) > 1
            mask = mask.unflatten(1, (kv_heads, group)) if per_head else mask.unsqueeze(2)
            scores.masked_fill_(~mask, low)
        if self.scope.padding is not None:
            scores.masked_fill_(~self.scope.padding[:, None, None, None, tile.keys], low)
        return scores, rows, some

    def _distances(self, tile: Tile) -> Int[Tensor, "queries keys"]:
        every = self.span.positions(0, self.span.tokens)
        return (every[self.span.first :][tile.queries][:, None] - every[tile.keys]).abs()


def folded(
    queries: Float[Tensor, "batch heads queries dim"], kv_heads: int
) -> Float[Tensor, "batch kv_heads rows dim"]:
    """The query heads that share a key-value head, as rows below each other."""
    return queries.reshape(queries.shape[0], kv_heads, -1, queries.shape[-1])


class _Tiled(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, keys: Tensor, values: Tensor, plan: _Plan
    ) -> tuple[Tensor, Tensor]:
        batch, heads, count, _ = queries.shape
        dtype = wide(queries.dtype)
        outputs = queries.new_zeros(batch, heads, count, values.shape[-1], dtype=dtype)
        sums = queries.new_zeros(batch, heads, count, dtype=dtype)  # in bits
        if plan.once:
            _at_once(queries, keys, values, plan, outputs, sums)
        else:
            _online(queries, keys, values, plan, outputs, sums)
        ctx.save_for_backward(queries, keys, values, outputs, sums)
        ctx.plan = plan
        ctx.mark_non_differentiable(sums)
        return outputs, sums * BIT

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, d_outputs: Tensor, _: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, None]:
        queries, keys, values, outputs, sums = ctx.saved_tensors
        dtype, kv_heads = outputs.dtype, keys.shape[1]
        d_queries, d_keys, d_values = (
            torch.zeros_like(it, dtype=dtype) for it in (queries, keys, values)
        )
        delta = (d_outputs * outputs).sum(-1, keepdim=True)
        plan: _Plan = ctx.plan
        with exact(queries):
            for tile in plan.tiles(plan.span):
                at = tile.queries
                scores, rows, some = plan.scores(tile, queries, keys)
                d_rows, d_some, d_value = gradients(
                    powers(scores, sums[:, :, at].unflatten(1, scores.shape[1:3])).flatten(2, 3),
                    rows,
                    some,
                    values[:, :, tile.keys].to(dtype),
                    folded(d_outputs[:, :, at], kv_heads),
                    folded(delta[:, :, at], kv_heads).squeeze(-1),
                )
                d_queries[:, :, at] += d_rows.mul_(plan.scale).view_as(d_queries[:, :, at])
                d_keys[:, :, tile.keys] += d_some.mul_(BIT)
                d_values[:, :, tile.keys] += d_value
        return d_queries.to(queries.dtype), d_keys.to(keys.dtype), d_values.to(values.dtype), None


def _at_once(
    queries: Tensor, keys: Tensor, values: Tensor, plan: _Plan, outputs: Tensor, sums: Tensor | None
) -> None:
    for tile in plan.tiles(plan.span):
        at = tile.queries
        scores, _, _ = plan.scores(tile, queries, keys)
        weights, total, lse, blind = unnormalised(scores)
        mixed = weights.flatten(2, 3) @ values[:, :, tile.keys].to(outputs.dtype)
        mixed = mixed.view(*total.shape, -1).div_(total.unsqueeze(-1))
        mixed.masked_fill_(blind.unsqueeze(-1), 0)
        outputs[:, :, at] = mixed.flatten(1, 2)
        if sums is not None:
            sums[:, :, at] = lse.flatten(1, 2)


def _online(
    queries: Tensor, keys: Tensor, values: Tensor, plan: _Plan, outputs: Tensor, sums: Tensor
) -> None:
    # Weights are 2^(score - peak) for the highest score so far, and are divided at the end. What
    # a query adds up that has seen nothing yet means nothing, and is lost with its first score.
    low = lowest(outputs.dtype)
    peaks, totals = torch.full_like(sums, low), torch.zeros_like(sums)
    for tile in plan.tiles(plan.span):
        at = tile.queries
        scores, _, _ = plan.scores(tile, queries, keys)
        before = peaks[:, :, at]
        peak = torch.maximum(before, scores.amax(-1).flatten(1, 2))
        weights = powers(scores, peak.unflatten(1, scores.shape[1:3]))
        mixed = weights.flatten(2, 3) @ values[:, :, tile.keys].to(outputs.dtype)
        kept = (before - peak).exp2_()
        total = weights.sum(-1).flatten(1, 2)
        totals[:, :, at] = total.addcmul_(totals[:, :, at], kept)
        mixed = mixed.view(*peak.shape, -1)
        outputs[:, :, at] = mixed.addcmul_(outputs[:, :, at], kept.unsqueeze(-1))
        peaks[:, :, at] = peak
    blind = peaks == low
    outputs.div_(totals.masked_fill_(blind, 1).unsqueeze(-1)).masked_fill_(blind.unsqueeze(-1), 0)
    torch.add(peaks, totals.log2_(), out=sums).masked_fill_(blind, 0)
