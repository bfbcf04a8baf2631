"""Selection for many queries: block after block, each with all queries that chose it.

Gathering the chosen blocks of each query copies them once per query; going through the blocks
instead reads each key once, and the queries of a block make one matrix product. Softmax is online
(Milakov & Gimelshein, 2018, arXiv:1805.02867): beside the outputs, a running maximum and sum per
query. Since a query occurs once in a block, nothing is added up in an order that may vary.

Loops over key-value blocks outside serve small groups of heads best (Yan et al., 2025,
arXiv:2508.18224). Memory is in O(queries): outputs, their sums, and one run of a block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from memollm.nsa.layout import BlockIndices, Keys, LogSumExp, Output, Queries, Values, exact, wide
from memollm.nsa.pairs import Pairs, by_block
from memollm.nsa.tile import gradients

ROWS_AT_A_TIME = {"cpu": 2**11, "gpu": 2**16}  # of a tile; on a CPU it stays in the cache


def block_major(
    queries: Queries,
    keys: Keys,
    values: Values,
    indices: BlockIndices,
    block_size: int,
    scale: float,
) -> tuple[Output, LogSumExp]:
    """Attention to the tokens, up to itself, of the blocks that each query chose.

    Outputs (0 for a query without blocks) are float32 at least and differentiable; the
    log-sum-exp is not differentiable.
    """
    with exact(queries):
        return _BlockMajor.apply(queries, keys, values, indices, block_size, scale)  # type: ignore


@dataclass(frozen=True)
class _Group:
    """One key-value head of one sequence, and the query heads that share it."""

    heads: tuple[int, slice]  # index of the sequence, its query heads
    kv_head: tuple[int, int]  # index of the sequence, the key-value head
    pairs: Pairs
    limit: int  # queries in a run
    first: int  # position of the first query
    block_size: int

    def runs(self, keys: int) -> Iterator[tuple[slice, Tensor, int]]:
        """Each block's tokens, a run of its queries, and how many of these lie inside it."""
        # Own blocks first: there most maxima are found that later blocks need not correct.
        for block in reversed(range(len(self.pairs.inside))):
            start = block * self.block_size
            tokens = slice(start, min(start + self.block_size, keys))
            for queries, inside in self.pairs.of_block(block, self.limit):
                yield tokens, queries, inside

    def hide(self, scores: Tensor, tokens: slice, queries: Tensor, value: float) -> None:
        """Overwrite the future in scores (queries, group, tokens), all inside the block."""
        token = torch.arange(tokens.start, tokens.stop, device=scores.device)
        future = token > (queries + self.first)[:, None]
        scores.masked_fill_(future[:, None], value)


def _groups(queries: Tensor, keys: Tensor, indices: Tensor, block_size: int) -> Iterator[_Group]:
    batch, count, heads, _ = queries.shape
    tokens, kv_heads = keys.shape[1:3]
    group = heads // kv_heads
    first = tokens - count
    rows = ROWS_AT_A_TIME["cpu" if queries.device.type == "cpu" else "gpu"]
    for b in range(batch):
        for g in range(kv_heads):
            pairs = by_block(indices[b, :, g], first, block_size, -(-tokens // block_size))
            shared = slice(g * group, (g + 1) * group)
            yield _Group((b, shared), (b, g), pairs, max(1, rows // group), first, block_size)


class _BlockMajor(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        indices: Tensor,
        block_size: int,
        scale: float,
    ) -> tuple[Tensor, Tensor]:
        dtype = wide(queries.dtype)
        batch, count, heads, _ = queries.shape
        outputs = queries.new_empty(batch, count, heads, values.shape[-1], dtype=dtype)
        sums = queries.new_empty(batch, heads, count, dtype=dtype)
        groups = list(_groups(queries, keys, indices, block_size))
        for group in groups:
            (b, shared), (_, g) = group.heads, group.kv_head
            mixed, lse = _attend(
                group,
                queries[b, :, shared].to(dtype) * scale,
                keys[b, :, g].to(dtype),
                values[b, :, g].to(dtype),
            )
            outputs[b, :, shared] = mixed
            sums[b, shared] = lse.T
        ctx.save_for_backward(queries, keys, values, outputs, sums)
        ctx.groups, ctx.scale = groups, scale
        ctx.mark_non_differentiable(sums)
        return outputs, sums

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, d_outputs: Tensor, _: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        queries, keys, values, outputs, sums = ctx.saved_tensors
        dtype = outputs.dtype
        d_queries, d_keys, d_values = (torch.empty_like(t) for t in (queries, keys, values))
        delta = (d_outputs * outputs).sum(-1)
        with exact(queries):
            for group in ctx.groups:
                (b, shared), (_, g) = group.heads, group.kv_head
                d_scaled, d_keys[b, :, g], d_values[b, :, g] = _differentiate(
                    group,
                    queries[b, :, shared].to(dtype) * ctx.scale,
                    keys[b, :, g].to(dtype),
                    values[b, :, g].to(dtype),
                    d_outputs[b, :, shared].contiguous(),
                    delta[b, :, shared].contiguous(),
                    sums[b, shared].T.contiguous(),
                )
                d_queries[b, :, shared] = d_scaled * ctx.scale
        return d_queries, d_keys, d_values, None, None, None


Rows = Float[Tensor, "queries group dim"]
ValueRows = Float[Tensor, "queries group value_dim"]
Numbers = Float[Tensor, "queries group"]
HeadKeys = Float[Tensor, "keys dim"]
HeadValues = Float[Tensor, "keys value_dim"]


def _attend(
    group: _Group, queries: Rows, keys: HeadKeys, values: HeadValues
) -> tuple[ValueRows, Numbers]:
    """Outputs and log-sum-exp of one group; ``queries`` are scaled already."""
    count, share, dim = queries.shape
    flat = queries.reshape(count, share * dim)
    # A column of ones makes the product that sums values sum weights, too.
    values = torch.cat([values, values.new_ones(len(values), 1)], dim=1)
    width = values.shape[1]
    mixed = queries.new_zeros(count, share * width)
    peaks = queries.new_full((count, share), -torch.inf)
    for tokens, chosen_by, inside in group.runs(len(keys)):
        rows = flat.index_select(0, chosen_by).view(-1, dim)
        scores = (rows @ keys[tokens].T).view(len(chosen_by), share, -1)
        if inside:
            group.hide(scores[:inside], tokens, chosen_by[:inside], -torch.inf)
        before = peaks.index_select(0, chosen_by)
        peak = torch.maximum(before, scores.amax(-1))
        # Not exp2, though it is quicker (``tile``): torch gives the elements at an end, which
        # do not fill a vector, another last bit; later queries decide how many a block has.
        weights = scores.sub_(peak.unsqueeze(-1)).exp_().flatten(0, 1)
        kept = before.sub_(peak).exp_().view(-1, 1)
        sums = mixed.index_select(0, chosen_by).view(-1, width).mul_(kept)
        sums.addmm_(weights, values[tokens])
        mixed.index_copy_(0, chosen_by, sums.view(len(chosen_by), -1))
        peaks.index_copy_(0, chosen_by, peak)
    weighted, total = mixed.view(count, share, width).split([width - 1, 1], dim=-1)
    total = total.masked_fill(total == 0, 1)
    peaks.masked_fill_(peaks == -torch.inf, 0)
    return weighted / total, peaks + total.squeeze(-1).log()


def _differentiate(
    group: _Group,
    queries: Rows,
    keys: HeadKeys,
    values: HeadValues,
    d_outputs: ValueRows,
    delta: Numbers,
    sums: Numbers,
) -> tuple[Rows, HeadKeys, HeadValues]:
    """Gradients of one group's queries (scaled, as given), keys and values."""
    count, share, dim = queries.shape
    flat, d_flat = queries.reshape(count, -1), d_outputs.view(count, -1)
    d_queries = torch.zeros_like(flat)
    d_keys, d_values = torch.zeros_like(keys), torch.zeros_like(values)
    for tokens, chosen_by, inside in group.runs(len(keys)):
        rows = flat.index_select(0, chosen_by).view(-1, dim)
        lse = sums.index_select(0, chosen_by).view(-1, 1)
        weights = (rows @ keys[tokens].T).sub_(lse).exp_()
        if inside:
            by_query = weights.view(len(chosen_by), share, -1)
            group.hide(by_query[:inside], tokens, chosen_by[:inside], 0.0)
        d_rows, d_key, d_value = gradients(
            weights,
            rows,
            keys[tokens],
            values[tokens],
            d_flat.index_select(0, chosen_by).view(-1, values.shape[-1]),
            delta.index_select(0, chosen_by).view(-1),
        )
        d_queries.index_add_(0, chosen_by, d_rows.view(len(chosen_by), -1))
        d_keys[tokens] += d_key
        d_values[tokens] += d_value
    return d_queries.view(count, share, dim), d_keys, d_values
