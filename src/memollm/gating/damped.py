"""Damped attention: the differentiable stand-in for forgetting.

A token that a query would see with retention R has ln R added to its logit, so that R = 1 leaves it
alone and R -> 0 evicts it. Ages and protection are those of the memory: what a query sees was
settled when the memory last forgot, and tokens since then are whole.

A budget is met by rank: the lowest retention goes, whatever its size. A common factor of all
lifetimes then changes nothing, and the stand-in is free to choose it so that the R of all tokens
sum to the budget. A power of the exponent (a Weibull curve) makes the passage from R = 1 to R = 0
as sharp as one likes without changing anybody's rank; in the limit it is the eviction.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

LogLifetime = Float[Tensor, "batch #kv_heads pairs"]  # ln of tokens; one head may stand for all
Attention = Float[Tensor, "batch kv_heads group queries pairs"]  # of each query head
LogRetention = Float[Tensor, "batch #kv_heads queries pairs"]  # ln R; -inf for later tokens
Memories = Float[Tensor, "batch #kv_heads times pairs"]  # ln R when the memory forgot; -inf: unborn
Times = Int[Tensor, " times"]  # tokens seen when the memory forgot

HALVINGS = 60  # of an interval of ln lifetimes, which leave 1e-16 of it
WIDEST = 60.0  # ln of the largest factor between the lifetimes of tokens and their budget's
GONE = 50.0  # ln of -ln R beyond which R and its slope are 0 in any precision


def times(pairs: int, queries: int, every: int, device: torch.device | None = None) -> Times:
    """When a memory that forgets every so many tokens did so, for the last ``queries`` tokens.

    >>> times(10, 4, every=3)
    tensor([6, 9])
    """
    return torch.arange(pairs - queries, pairs, every, device=device)


def memories(
    log_lifetime: LogLifetime,
    settled: Times,
    sinks: int = 4,
    recent: int = 16,
    budget: float | int | None = None,
    sharpness: float = 1.0,
) -> Memories:
    """Logarithm of R of every token, when the memory forgot.

    Args:
        log_lifetime: ln of the tokens that each token lives.
        settled: see ``times``.
        sinks: first tokens, which never fade.
        recent: newest tokens, which do not fade while they are.
        budget: what the R of all tokens sum to, lifetimes being scaled until they do: a share of
            the tokens seen, in (0, 1), or a number of them; None: lifetimes as they are.
        sharpness: power of age / lifetime; 1 is the forgetting curve.

    >>> memories(torch.zeros(1, 1, 4), torch.tensor([3]), sinks=1, recent=1)
    tensor([[[[ 0., -1.,  0., -inf]]]])
    """
    pair = torch.arange(log_lifetime.shape[2], device=log_lifetime.device)
    seen = settled[:, None]
    spared = (pair < sinks) | (pair >= seen - max(recent, 1))  # the newest has age 0 and R = 1
    age = (seen - 1 - pair).clamp(min=1).to(log_lifetime.dtype)
    spent = age.log() - log_lifetime[:, :, None]  # ln of the age in lifetimes
    if budget is not None:
        mortal = (pair < seen) & ~spared
        room = allowed(budget, settled).to(spent) - (spared & (pair < seen)).sum(dim=1)
        spent = spent - _scale(spent, mortal, room.clamp(min=1)[:, None], sharpness)
    faded = -torch.exp((sharpness * spent).clamp(max=GONE))
    return faded.masked_fill(spared, 0.0).masked_fill(pair >= seen, -torch.inf)


def allowed(budget: float | int, settled: Times) -> Float[Tensor, " times"]:
    """Tokens that a budget leaves."""
    seen = settled.double()
    return budget * seen if isinstance(budget, float) else torch.full_like(seen, budget)


def _scale(
    spent: Float[Tensor, "batch heads times pairs"],
    mortal: Tensor,
    room: Float[Tensor, "times 1"],
    sharpness: float,
) -> Float[Tensor, "batch heads times 1"]:
    """Logarithm of the factor for lifetimes with which the R of mortal tokens sum to ``room``.

    Found by halving an interval; a Newton step from there, whose slope is held constant, gives it
    the gradient of the implicit function.
    """

    def power(at: Tensor) -> Tensor:
        return torch.exp((sharpness * (spent - at)).clamp(max=GONE))

    def held(at: Tensor) -> Tensor:
        return torch.exp(-power(at)).mul(mortal).sum(dim=-1, keepdim=True)

    with torch.no_grad():
        low = torch.full_like(spent[..., :1], -WIDEST)
        high = -low
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            fits = held(middle) <= room
            low, high = torch.where(fits, middle, low), torch.where(fits, high, middle)
        faded = power(low)
        slope = (sharpness * faded * torch.exp(-faded) * mortal).sum(dim=-1, keepdim=True)
    step = (room - held(low)) / slope.clamp(min=1e-6)
    return low + step - step.detach()


def as_seen(memory: Memories, settled: Times, queries: int) -> LogRetention:
    """Logarithm of R as each of the last ``queries`` tokens sees it: younger tokens are whole."""
    pairs = memory.shape[3]
    pair = torch.arange(pairs, device=memory.device)
    query = pair[pairs - queries :]
    which = torch.searchsorted(settled, query, right=True) - 1
    since = pair >= settled[which, None]
    seen = memory[:, :, which].masked_fill(since, 0.0)
    return seen.masked_fill(pair > query[:, None], -torch.inf)


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


def overflow(memory: Memories, settled: Times, budget: float | int) -> Float[Tensor, ""]:
    """By how much, in budgets, the memory is over its budget: mean over heads and times.

    Args:
        memory: ln R, whose sum over tokens is what the memory holds.
        settled: see ``times``.
        budget: share of the tokens seen, in (0, 1), or a number of them.
    """
    room = allowed(budget, settled).to(memory).clamp(min=1)
    return torch.relu(memory.exp().sum(dim=-1) / room - 1).mean()
