"""Native sparse attention as it is defined, with every score of every token written out."""

import math

import torch


def masked(q, k, v, visible, scale):
    """softmax(q k^T scale) v over the visible; outputs, log-sum-exp, weights: 0 where none is."""
    group = q.shape[2] // k.shape[2]
    k, v = (t.repeat_interleave(group, dim=2) for t in (k, v))
    scores = torch.einsum("bmhd,bnhd->bhmn", q, k) * scale
    scores = scores.masked_fill(~visible, -math.inf)
    blind = ~visible.any(-1).expand(scores.shape[:3])
    weights = scores.masked_fill(blind[..., None], 0).softmax(-1)
    weights = weights.masked_fill(blind[..., None], 0)
    lse = scores.logsumexp(-1).masked_fill(blind, 0)
    return torch.einsum("bhmn,bnhd->bmhd", weights, v), lse, weights


def compression(q, k, v, block_size, scale):
    position = torch.arange(k.shape[1] - q.shape[1], k.shape[1])
    starts = range(0, k.shape[1] - block_size + 1, block_size)
    if not starts:
        return masked(q, k[:, :1], v[:, :1], torch.zeros(len(position), 1).bool(), scale)
    k, v = (
        torch.stack([t[:, at : at + block_size].mean(1) for at in starts], dim=1) for t in (k, v)
    )
    ends = torch.tensor([at + block_size - 1 for at in starts])
    return masked(q, k, v, ends <= position[:, None], scale)


def choice(weights, kv_heads, queries, tokens, block_size, counts):
    """The set of blocks of each query, as sets[b][m][g]; ``weights`` of compression."""
    scores = weights.unflatten(1, (kv_heads, -1)).sum(2)
    sets = []
    for b in range(len(weights)):
        sets.append([])
        for m in range(queries):
            own = (tokens - queries + m) // block_size
            of_heads = []
            for g in range(kv_heads):
                forced = [own, 0, own - 1]
                score = scores[b, g, m].tolist() + [0.0]
                others = sorted(
                    (c for c in range(own + 1) if c not in forced),
                    key=lambda c, s=score: (-s[c], c),
                )
                ranked = list(dict.fromkeys(c for c in forced + others if c >= 0))
                of_heads.append(set(ranked[:counts]))
            sets[-1].append(of_heads)
    return sets


def selection(q, k, v, sets, block_size, scale):
    queries, tokens, heads = q.shape[1], k.shape[1], q.shape[2]
    group = heads // k.shape[2]
    visible = torch.zeros(len(q), heads, queries, tokens, dtype=torch.bool)
    for b, of_queries in enumerate(sets):
        for m, of_heads in enumerate(of_queries):
            for g, blocks in enumerate(of_heads):
                for c in blocks:
                    stop = min((c + 1) * block_size, tokens - queries + m + 1)
                    visible[b, g * group : (g + 1) * group, m, c * block_size : stop] = True
    return masked(q, k, v, visible, scale)


def window(q, k, v, size, scale):
    position = torch.arange(k.shape[1] - q.shape[1], k.shape[1])[:, None]
    token = torch.arange(k.shape[1])
    return masked(q, k, v, (token <= position) & (token > position - size), scale)


def as_sets(indices):
    """Block indices as ``choice`` gives them."""
    return [[[set(h) - {-1} for h in m] for m in b] for b in indices.tolist()]
