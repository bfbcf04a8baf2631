"""Attention of chunks of neighbouring queries to what each chunk can see, forward and backward.

For views in which neighbours see almost the same keys: block means, a window. Only the scores of
one chunk exist at a time, and the backward pass recomputes them from the log-sum-exp. Slices of
keys under autograd instead would add up a gradient as long as all keys for every chunk.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from memollm.nsa.layout import (
    Keys,
    LogSumExp,
    Output,
    Queries,
    Values,
    exact,
    grouped,
    per_group,
    per_head,
    ungrouped,
    wide,
)
from memollm.nsa.tile import BIT, gradients, lowest, powers, unnormalised

# Scores held at a time: what stays in a processor's cache, or fills a GPU.
SCORES_AT_A_TIME = {"cpu": 2**17, "gpu": 2**25}
LEAST_CHUNK = 32  # queries: fewer would make the matrix products thin


class View(abc.ABC):
    """Which keys the query at a position sees: neighbouring keys, for neighbouring positions."""

    @abc.abstractmethod
    def seen(self, start: int, stop: int) -> slice:
        """All keys that some query in positions [start, stop) sees."""

    @abc.abstractmethod
    def seen_by_all(self, start: int, stop: int) -> slice:
        """The keys among them that every one of these queries sees."""

    @abc.abstractmethod
    def hidden(
        self, queries: slice, keys: slice, device: torch.device
    ) -> Bool[Tensor, "queries 1 keys"]:
        """Which of these keys each of these queries, by position, does not see."""


# What is told of a chunk: its queries, and their weights summed over each group of heads; those
# of a query that sees nothing mean nothing.
Observer = Callable[[slice, Float[Tensor, "batch kv_heads queries seen"]], None]


def chunked_attention(
    queries: Queries,
    keys: Keys,
    values: Values,
    view: View,
    first: int,
    scale: float,
    observe: Observer | None = None,
) -> tuple[Output, LogSumExp]:
    """Outputs, float32 at least, and their log-sum-exp, which is not differentiable.

    Args:
        queries: neighbours, the first of them at position ``first``.
        keys: tokens, or whatever else ``view`` counts.
        values: of the same.
        view: who sees whom; a query that sees nothing gets 0 in both.
        first: position of the first query.
        scale: of the scores.
        observe: called with each chunk's weights, without gradients.
    """
    near = view.seen(first, first + queries.shape[1])  # nothing else is read, let alone copied
    settings = _Settings(view, near.start, first, scale, observe)
    with exact(queries):
        return _Chunked.apply(queries, keys[:, near], values[:, near], settings)  # type: ignore


@dataclass(frozen=True)
class _Settings:
    view: View
    origin: int  # the view's index of the first key
    first: int
    scale: float
    observe: Observer | None


@dataclass(frozen=True)
class _Chunk:
    queries: slice
    seen: slice  # of the keys
    # One per query and head of the group, scaled so that products with keys are scores in bits.
    rows: Float[Tensor, "batch kv_heads rows dim"]
    # Which of the first keys and which of the last keys are hidden from which of the queries.
    hidden: tuple[Bool[Tensor, "queries 1 some"], Bool[Tensor, "queries 1 others"]]

    def scores(
        self, keys: Float[Tensor, "batch kv_heads keys dim"]
    ) -> Float[Tensor, "batch kv_heads queries group seen"]:
        """In bits, as low as can be where hidden."""
        products = self.rows @ keys[:, :, self.seen].mT
        scores = products.unflatten(2, (self.queries.stop - self.queries.start, -1))
        head, tail = self.hidden
        length, low = scores.shape[-1], lowest(scores.dtype)
        scores[..., : head.shape[-1]].masked_fill_(head, low)
        scores[..., length - tail.shape[-1] :].masked_fill_(tail, low)
        return scores

    def of_queries(self, rows: Float[Tensor, "batch kv_heads rows dim"]) -> Queries:
        """Rows as (batch, queries, heads, dim)."""
        return ungrouped(rows.unflatten(2, (self.queries.stop - self.queries.start, -1)))


def _chunks(queries: Tensor, keys: Tensor, settings: _Settings) -> Iterator[_Chunk]:
    batch, count, heads, _ = queries.shape
    view, first, origin, device = settings.view, settings.first, settings.origin, queries.device
    one = view.seen(first + count - 1, first + count)
    budget = SCORES_AT_A_TIME["cpu" if device.type == "cpu" else "gpu"]
    size = max(LEAST_CHUNK, budget // (batch * heads * max(one.stop - one.start, 1)))
    for start in range(0, count, size):
        stop = min(start + size, count)
        seen = view.seen(first + start, first + stop)
        common = view.seen_by_all(first + start, first + stop)
        position = slice(first + start, first + stop)
        ends = slice(seen.start, common.start), slice(common.stop, seen.stop)
        rows = grouped(queries[:, start:stop], keys.shape[1]).to(keys.dtype)
        rows = rows * (settings.scale / BIT)
        yield _Chunk(
            slice(start, stop),
            slice(seen.start - origin, seen.stop - origin),
            rows.flatten(2, 3),
            tuple(view.hidden(position, end, device) for end in ends),  # type: ignore
        )


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, keys: Tensor, values: Tensor, settings: _Settings
    ) -> tuple[Tensor, Tensor]:
        dtype = wide(queries.dtype)
        wide_keys, wide_values = (
            tensor.transpose(1, 2).to(dtype).contiguous() for tensor in (keys, values)
        )
        outputs = queries.new_zeros(*queries.shape[:3], values.shape[-1], dtype=dtype)
        shape = queries.shape[0], queries.shape[2], queries.shape[1]
        sums = queries.new_zeros(shape, dtype=dtype)  # in bits
        for chunk in _chunks(queries, wide_keys, settings):
            scores = chunk.scores(wide_keys)
            if scores.shape[-1]:
                weights, total, lse, blind = unnormalised(scores)
                mixed = weights.flatten(2, 3) @ wide_values[:, :, chunk.seen]
                mixed.div_(total.view(*mixed.shape[:3], 1))
                mixed.masked_fill_(blind.view(*mixed.shape[:3], 1), 0)
                outputs[:, chunk.queries] = chunk.of_queries(mixed)
                sums[:, :, chunk.queries] = per_head(lse)
                if settings.observe is not None:
                    settings.observe(chunk.queries, weights.div_(total.unsqueeze(-1)).sum(3))
            elif settings.observe is not None:
                settings.observe(chunk.queries, scores.sum(3))
        ctx.save_for_backward(queries, keys, values, outputs, sums)
        ctx.settings = settings
        ctx.mark_non_differentiable(sums)
        return outputs, sums * BIT

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, d_outputs: Tensor, _: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, None]:
        queries, keys, values, outputs, sums = ctx.saved_tensors
        settings: _Settings = ctx.settings
        dtype = outputs.dtype
        wide_keys, wide_values = (
            tensor.transpose(1, 2).to(dtype).contiguous() for tensor in (keys, values)
        )
        kv_heads = wide_keys.shape[1]
        d_queries = torch.zeros_like(queries)
        d_keys, d_values = torch.zeros_like(wide_keys), torch.zeros_like(wide_values)
        delta = per_group((d_outputs * outputs).sum(-1).transpose(1, 2), kv_heads)
        lse = per_group(sums, kv_heads)
        with exact(queries):
            for chunk in _chunks(queries, wide_keys, settings):
                if chunk.seen.start == chunk.seen.stop:
                    continue
                scores = chunk.scores(wide_keys)
                d_rows, d_key, d_value = gradients(
                    powers(scores, lse[:, :, chunk.queries]).flatten(2, 3),
                    chunk.rows,
                    wide_keys[:, :, chunk.seen],
                    wide_values[:, :, chunk.seen],
                    grouped(d_outputs[:, chunk.queries], kv_heads).flatten(2, 3),
                    delta[:, :, chunk.queries].flatten(2, 3),
                )
                d_queries[:, chunk.queries] = chunk.of_queries(d_rows.mul_(settings.scale))
                d_keys[:, :, chunk.seen] += d_key.mul_(BIT)
                d_values[:, :, chunk.seen] += d_value
        return (
            d_queries,
            d_keys.transpose(1, 2).to(keys.dtype),
            d_values.transpose(1, 2).to(values.dtype),
            None,
        )
