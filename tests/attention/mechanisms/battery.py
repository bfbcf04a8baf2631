"""Every registered mechanism, small enough for short texts, and inputs for it."""

import dataclasses

import torch

from memollm.attention.config import attention_types
from memollm.attention.mechanisms.base import HeadShape
from memollm.attention.mechanisms.scope import Scope
from memollm.registry import groups

NAMES = attention_types()
SMALL = {
    "window_size": 5,
    "block_size": 4,
    "block_counts": 3,
    "stride": 3,
    "dilation": 2,
    "global_tokens": 2,
    "random_blocks": 1,
    "query_block": 4,
    "key_block": 8,
    "buckets": 4,
    "projection_dim": 16,
    "num_landmarks": 4,
    "max_seq_len": 128,
    "rank": 4,
}
WIDTH = 6


def small(name, **settings):
    """A mechanism with the settings above, where it has such fields."""
    part = groups()["mechanism"][name]
    fields = {it.name for it in dataclasses.fields(part)}
    return part(**{k: v for k, v in SMALL.items() if k in fields} | settings)


def supporting(*wanted):
    """Names of the mechanisms that support all of ``wanted``."""
    parts = groups()["mechanism"]
    return [n for n in NAMES if all(getattr(parts[n].supports, it) for it in wanted)]


def plain(name):
    """The names that the mechanism accepts of causal True and False, or cross attention."""
    supports = groups()["mechanism"][name].supports
    scopes = [Scope(causal=True)] if supports.causal else []
    scopes += [Scope(causal=False)] if supports.bidirectional else []
    return scopes or [Scope(cross=True)]


def heads_of(mechanism, heads=2):
    """Query heads and key-value heads, shared if they may be."""
    try:
        return heads, mechanism.key_value_heads(heads, 1)
    except ValueError:
        return heads, heads


def qkv(mechanism, tokens, queries=None, batch=2, heads=2, dim=4, seed=0, dtype=torch.float64):
    lots = torch.Generator().manual_seed(seed)
    heads, kv_heads = heads_of(mechanism, heads)
    count = tokens if queries is None else queries
    shapes = (batch, heads, count, dim), *2 * [(batch, kv_heads, tokens, dim)]
    return [torch.randn(it, generator=lots, dtype=torch.float64).to(dtype) for it in shapes]


def hidden(queries):
    """Hidden states for gates: any, but the same for the same token."""
    batch, _, count, _ = queries.shape
    lots = torch.Generator().manual_seed(7)
    states = torch.randn(batch, 512, WIDTH, generator=lots, dtype=torch.float64)
    return states[:, :count].to(queries.dtype)


def weights_of(mechanism, dim=4, heads=2, dtype=torch.float64):
    torch.manual_seed(1)
    heads, kv_heads = heads_of(mechanism, heads)
    weights = mechanism.weights(HeadShape(WIDTH, heads, kv_heads, dim))
    return None if weights is None else weights.to(dtype)


def attend(mechanism, q, k, v, scope, weights=None, first=0):
    """``attend`` with hidden states of the queries, of which the first is token ``first``."""
    states = hidden(q.new_empty(len(q), 1, first + q.shape[2], 1))[:, first:]
    scope = dataclasses.replace(scope, hidden=states)
    return mechanism.attend(q, k, v, scope, weights)
