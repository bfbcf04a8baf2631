"""Selection: attention to the tokens of a few chosen blocks (arXiv:2502.11089, equation 12).

Three ways to the same result: dense where every block is chosen, gathered where the queries are
few, block-major otherwise.
"""

from __future__ import annotations

import torch

from memollm.nsa.block_major import block_major
from memollm.nsa.gathered import gathered
from memollm.nsa.layout import BlockIndices, Keys, LogSumExp, Output, Queries, Values


def selected_attention(
    queries: Queries,
    keys: Keys,
    values: Values,
    indices: BlockIndices,
    block_size: int,
    scale: float,
) -> tuple[Output, LogSumExp]:
    """Attention of each query to the tokens, up to itself, of its blocks, and its log-sum-exp.

    Args:
        queries: the last of the tokens.
        keys: of all tokens.
        values: of all tokens.
        indices: the blocks of each query, for each key-value head; a block that lies in a query's
            future is left out.
        block_size: tokens.
        scale: of the scores.
    """
    way = gathered if _few(indices, keys.shape[1], block_size) else block_major
    return way(queries, keys, values, indices, block_size, scale)


def _few(indices: BlockIndices, tokens: int, block_size: int) -> bool:
    """Whether gathering copies at most as many blocks as there are."""
    queries, selected = indices.shape[1], indices.shape[-1]
    return queries * selected * block_size <= tokens


def chooses_all(block_counts: int | torch.Tensor, tokens: int, block_size: int) -> bool:
    """Whether every query chooses every block, so that selection is dense causal attention."""
    least = block_counts if isinstance(block_counts, int) else int(block_counts.min())
    return least * block_size >= tokens
