"""The weights of a branch, token by token, from its log-sum-exp.

A branch's output is linear in the values, so its weights over tokens are what reproduces it:
weights @ v == output of that branch. For compression that is the weight of a block's mean, shared
out among the block's tokens, and not exp(score of the token - lse), which is no distribution.
"""

from __future__ import annotations

from enum import StrEnum

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from memollm.nsa.layout import wide
from memollm.nsa.means import block_means

CONSISTENT = 1e-2  # largest |sum of exp(score - lse) - 1|: half-precision scores differ by as much


class EmptyRows(StrEnum):
    """The weights of a query that sees nothing in the branch, whose output is 0."""

    prefix = "prefix"  # uniform over the tokens up to its own, so that every row sums to 1
    zero = "zero"  # 0, so that weights @ v is the output there, too


def compute_attention_weights_from_lse(
    lse: Tensor,
    q: Tensor,
    k: Tensor,
    block_indices: Tensor | None = None,
    block_size: int = 64,
    *,
    window_size: int | None = None,
    scale: float | None = None,
    empty_rows: str = "prefix",
    strict: bool = False,
) -> Tensor:
    """The weights (batch, heads, M, N) that a branch of ``nsa_func`` gave to each token.

    Of compression with neither ``block_indices`` nor ``window_size``, of selection with
    ``block_indices``, of the window with ``window_size``. Rows are >= 0 and sum to 1.

    Args:
        lse: of that branch (batch, heads, M). A constant added to a row changes nothing, since
            rows are normalised; ``strict`` finds out.
        q: queries (batch, M, heads, dim), the last M of the N tokens.
        k: keys (batch, N, kv_heads, dim).
        block_indices: the blocks of each query (batch, M, kv_heads, T).
        block_size: tokens, as given to ``nsa_func``.
        window_size: tokens, likewise.
        scale: likewise.
        empty_rows: what a query gets that sees nothing (in compression: the first
            block_size - 1 queries of a text): "prefix", uniform weights over the tokens up to its
            own, or "zero".
        strict: refuse an ``lse`` that is not that of these queries and keys.

    Raises:
        ValueError: shapes do not fit, or (strict) lse does not.

    Memory and time are in O(M * N): for looking at, not for computing with.
    """
    batch, queries, heads, _ = q.shape
    tokens, kv_heads = k.shape[1:3]
    if lse.shape != (batch, heads, queries):
        raise ValueError(
            f"lse must be (batch, heads, queries) = {(batch, heads, queries)}, "
            f"got {tuple(lse.shape)}"
        )
    if block_indices is not None and window_size is not None:
        raise ValueError("block_indices are of selection and window_size of the window: give one")
    if empty_rows not in list(EmptyRows):
        raise ValueError(f"empty_rows must be one of {[*map(str, EmptyRows)]}, got {empty_rows!r}")
    dtype = wide(q.dtype)
    position = torch.arange(tokens - queries, tokens, device=q.device)
    token = torch.arange(tokens, device=q.device)
    causal = token <= position[:, None]
    if window_size is not None:
        weights = _exponentials(
            lse, q, k, causal & (token > position[:, None] - window_size), scale
        )
    elif block_indices is not None:
        chosen = _tokens_of(block_indices, block_size, tokens).repeat_interleave(
            heads // kv_heads, dim=1
        )
        weights = _exponentials(lse, q, k, chosen & causal, scale)
    else:
        means = block_means(k, block_size)
        complete = (position + 1) // block_size
        visible = torch.arange(means.shape[1], device=q.device) < complete[:, None]
        blocks = _exponentials(lse, q, means, visible, scale)
        weights = blocks.new_zeros(batch, heads, queries, tokens)
        inside = means.shape[1] * block_size
        weights[..., :inside] = (blocks / block_size).repeat_interleave(block_size, dim=-1)
    total = weights.sum(-1, keepdim=True)
    empty = total == 0
    if strict and not bool(((total - 1).abs() <= CONSISTENT)[~empty].all()):
        raise ValueError(
            "lse is not the log-sum-exp of these queries and keys with this block_size and scale: "
            f"rows sum to {total[~empty].min():.3g} to {total[~empty].max():.3g} in place of 1"
        )
    weights /= total.masked_fill(empty, 1)
    if empty_rows == EmptyRows.prefix:
        prefix = causal.to(dtype) / (position + 1).unsqueeze(1)
        weights = torch.where(empty, prefix, weights)
    return weights


def _exponentials(
    lse: Float[Tensor, "batch heads queries"],
    q: Float[Tensor, "batch queries heads dim"],
    k: Float[Tensor, "batch seen kv_heads dim"],
    visible: Bool[Tensor, "*#some_heads queries seen"],
    scale: float | None,
) -> Float[Tensor, "batch heads queries seen"]:
    """exp(score - lse), and 0 where not visible."""
    dtype = wide(q.dtype)
    group = q.shape[2] // k.shape[2]
    keys = k.to(dtype).repeat_interleave(group, dim=2)
    scores = q.to(dtype).transpose(1, 2) @ keys.permute(0, 2, 3, 1)
    scores *= q.shape[-1] ** -0.5 if scale is None else scale
    scores.masked_fill_(~visible, -torch.inf)
    return scores.sub_(lse.to(dtype).unsqueeze(-1)).exp_()


def _tokens_of(
    block_indices: Tensor, block_size: int, tokens: int
) -> Bool[Tensor, "batch kv_heads queries tokens"]:
    """Which tokens lie in the blocks of each query."""
    blocks = -(-tokens // block_size)
    shape = (*block_indices.shape[:3], blocks + 1)  # the last one stands for -1
    chosen = torch.zeros(shape, dtype=torch.bool, device=block_indices.device)
    chosen.scatter_(3, block_indices.long() % (blocks + 1), True)
    return chosen[..., :blocks].transpose(1, 2).repeat_interleave(block_size, -1)[..., :tokens]
