"""Damped attention: the differentiable stand-in for forgetting.

A token that a query would see with retention R has ln R = -age / lifetime added to its logit, so
that R = 1 leaves it alone and R -> 0 evicts it. Ages and protection are those of the memory with
``prefill_chunk=1``: what a query sees was settled when the token before it had been processed.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

LogLifetime = Float[Tensor, "batch #kv_heads pairs"]  # ln of tokens; one head may stand for all
Attention = Float[Tensor, "batch kv_heads group queries pairs"]  # of each query head
LogRetention = Float[Tensor, "batch #kv_heads queries pairs"]  # ln R; -inf for later tokens


def log_retention(
    log_lifetime: LogLifetime, queries: int, sinks: int = 4, recent: int = 16
) -> LogRetention:
    """Logarithm of R, of every pair as the last ``queries`` tokens see it.

    >>> log_retention(torch.zeros(1, 1, 4), queries=1, sinks=1, recent=1)
    tensor([[[[ 0., -1.,  0.,  0.]]]])
    """
    pairs = log_lifetime.shape[2]
    pair = torch.arange(pairs, device=log_lifetime.device)
    query = pair[pairs - queries :, None]
    age = (query - 1 - pair).clamp(min=0).to(log_lifetime.dtype)
    spared = (pair < sinks) | (pair >= query - recent)
    faded = -age * torch.exp(-log_lifetime)[:, :, None]
    return faded.masked_fill(spared, 0.0).masked_fill(pair > query, -torch.inf)


def attend_damped(
    queries: Float[Tensor, "batch heads queries dim"],
    keys: Float[Tensor, "batch kv_heads pairs dim"],
    values: Float[Tensor, "batch kv_heads pairs value_dim"],
    retention: LogRetention,
    scaling: float,
    softcap: float | None = None,
) -> Float[Tensor, "batch heads queries value_dim"]:
    """softmax(cap(q k^T * scaling) + ln R) v, differentiable in all of them."""
    batch, heads, count, _ = queries.shape
    scores = _scores(queries, keys, scaling, softcap)
    weights = torch.softmax(scores + retention[:, :, None], dim=-1).to(values.dtype)
    return (weights @ values[:, :, None]).reshape(batch, heads, count, -1)


def attend_noting(
    queries: Float[Tensor, "batch heads queries dim"],
    keys: Float[Tensor, "batch kv_heads pairs dim"],
    values: Float[Tensor, "batch kv_heads pairs value_dim"],
    scaling: float,
    softcap: float | None = None,
) -> tuple[Float[Tensor, "batch heads queries value_dim"], Attention]:
    """Causal attention of the last tokens, undamped, and its weights."""
    batch, heads, count, _ = queries.shape
    scores = _scores(queries, keys, scaling, softcap)
    future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device)
    future = future.triu(scores.shape[-1] - count + 1)
    weights = torch.softmax(scores.masked_fill(future, -torch.inf), dim=-1)
    out = (weights.to(values.dtype) @ values[:, :, None]).reshape(batch, heads, count, -1)
    return out, weights


def _scores(queries: Tensor, keys: Tensor, scaling: float, softcap: float | None) -> Tensor:
    """Logits (batch, kv_heads, heads of each, queries, pairs)."""
    batch, _, count, dim = queries.shape
    grouped = queries.reshape(batch, keys.shape[1], -1, count, dim) * scaling
    scores = grouped @ keys[:, :, None].transpose(-1, -2)
    return scores if softcap is None else torch.tanh(scores / softcap) * softcap


def lost(attention: Attention, retention: LogRetention) -> Float[Tensor, "batch queries"]:
    """-ln of the share of its attention that damping leaves each query, mean over heads."""
    left = torch.logsumexp(attention.log() + retention[:, :, None], dim=-1)
    return -left.mean(dim=(1, 2))


def overflow(retention: LogRetention, budget: float | int) -> Float[Tensor, ""]:
    """By how much, in budgets, the memory is over its budget: mean over queries and heads.

    The memory of a query holds the sum of R over the tokens that it sees.

    Args:
        retention: ln R.
        budget: share of the tokens seen, in (0, 1), or a number of them.
    """
    held = retention.exp().sum(dim=-1)
    count, pairs = retention.shape[2:]
    seen = torch.arange(pairs - count + 1, pairs + 1, device=held.device, dtype=held.dtype)
    allowed = budget * seen if isinstance(budget, float) else torch.full_like(seen, budget)
    return torch.relu(held / allowed - 1).mean()
