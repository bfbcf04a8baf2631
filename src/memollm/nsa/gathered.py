"""Selection for few queries, as when decoding: each query's blocks, gathered."""

from __future__ import annotations

import torch

from memollm.nsa.choice import distinct
from memollm.nsa.layout import (
    BlockIndices,
    Keys,
    LogSumExp,
    Output,
    Queries,
    Values,
    exact,
    grouped,
    per_head,
    ungrouped,
    wide,
)


def gathered(
    queries: Queries,
    keys: Keys,
    values: Values,
    indices: BlockIndices,
    block_size: int,
    scale: float,
) -> tuple[Output, LogSumExp]:
    """As ``block_major``; copies queries * selected * block_size keys and values."""
    batch, count = queries.shape[:2]
    tokens, kv_heads = keys.shape[1:3]
    device = queries.device
    position = torch.arange(tokens - count, tokens, device=device)
    blocks = distinct(indices)
    token = blocks[..., None] * block_size + torch.arange(block_size, device=device)
    hidden = (token > position[:, None, None, None]) | (blocks < 0)[..., None]
    token = token.clamp(0, tokens - 1).flatten(3).transpose(1, 2)  # hidden ones read anything
    hidden = hidden.flatten(3).transpose(1, 2).unsqueeze(3)
    row = torch.arange(batch, device=device).view(-1, 1, 1, 1)
    head = torch.arange(kv_heads, device=device).view(-1, 1, 1)
    dtype = wide(queries.dtype)
    near_keys, near_values = (cached[row, token, head].to(dtype) for cached in (keys, values))
    with exact(queries):
        scores = grouped(queries, kv_heads).to(dtype) @ near_keys.mT * scale
    # The least finite number, and not -inf: of a query without blocks softmax stays a number.
    scores = scores.masked_fill(hidden, torch.finfo(dtype).min)
    weights = scores.softmax(-1).masked_fill(hidden, 0)
    lse = scores.detach().logsumexp(-1).masked_fill(hidden.all(-1), 0)
    with exact(queries):
        return ungrouped(weights @ near_values), per_head(lse)
