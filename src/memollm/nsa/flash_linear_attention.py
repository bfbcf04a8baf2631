"""Selection by flash-linear-attention's Triton kernels, where they are installed.

They take groups of 16, 32, 64, ... query heads. Smaller groups, and others, are filled up with
heads of zeros, whose outputs are dropped: exact, at the price of the rows that they fill.
Compression, the choice of blocks and the window stay with torch, since there fla rounds the
number of blocks up to a power of two, bounds it by half the block size, and needs flash-attn.
"""

from __future__ import annotations

import importlib

import torch
from torch.nn.functional import pad

from memollm.nsa.choice import distinct
from memollm.nsa.layout import BlockIndices, Keys, Output, Queries, Values

LEAST_GROUP = 16  # query heads per key-value head; a group is a power of two
LEAST_BLOCK = 16  # tokens; a block is a power of two
LARGEST_DIM = 256  # of keys


def fla_selected_attention(
    queries: Queries,
    keys: Keys,
    values: Values,
    indices: BlockIndices,
    block_size: int,
    scale: float,
) -> Output:
    """As ``selected_attention``, without the log-sum-exp.

    Raises:
        ImportError: fla is not installed.
        ValueError: it cannot do this.
    """
    parallel_nsa = _load()
    count, tokens = queries.shape[1], keys.shape[1]
    if block_size < LEAST_BLOCK or block_size & (block_size - 1):
        raise ValueError(
            f"backend=fla takes block_size = {LEAST_BLOCK}, {2 * LEAST_BLOCK}, ... (powers of "
            f"two), got {block_size}; use backend=torch"
        )
    if queries.shape[3] > LARGEST_DIM:
        raise ValueError(
            f"backend=fla takes heads of up to {LARGEST_DIM} dimensions, got {queries.shape[3]}; "
            "use backend=torch"
        )
    if count < tokens and any(tensor.requires_grad for tensor in (queries, keys, values)):
        raise ValueError(
            f"backend=fla has no gradients for {count} queries of {tokens} tokens; call it under "
            "torch.no_grad(), or use backend=torch"
        )
    kv_heads = keys.shape[2]
    group = queries.shape[2] // kv_heads
    filled = max(LEAST_GROUP, 1 << (group - 1).bit_length())
    # The kernels count a repeated block twice and divide by zero where a query has none.
    own = torch.arange(tokens - count, tokens, device=indices.device) // block_size
    blocks = distinct(indices)
    blind = ~((blocks >= 0) & (blocks <= own[:, None, None])).any(-1)
    blocks[..., 0] = torch.where(blind, 0, blocks[..., 0])
    rows = pad(queries.unflatten(2, (kv_heads, group)), (0, 0, 0, filled - group)).flatten(2, 3)
    outputs = parallel_nsa(
        q=rows,
        k=keys,
        v=values,
        block_indices=blocks,
        block_counts=blocks.shape[-1],
        block_size=block_size,
        window_size=0,
        scale=scale,
    )
    of_group = outputs.unflatten(2, (kv_heads, filled))[:, :, :, :group]
    return of_group.masked_fill(blind[..., None, None], 0).flatten(2, 3)


def _load():
    try:
        return importlib.import_module("fla.ops.nsa").parallel_nsa
    except ImportError as error:
        raise ImportError(
            "backend=fla needs flash-linear-attention (a CUDA GPU with Triton): "
            "pip install 'memollm[gpu]', or use backend=torch"
        ) from error
