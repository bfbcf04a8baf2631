"""Softmax over a tile of scores, and the gradients of attention recomputed from its log-sum-exp.

With the log-sum-exp L of a query kept, its weights w = exp(score - L) can be had again, tile by
tile, so that no backward pass needs the weights of a forward pass (Dao et al., 2022,
arXiv:2205.14135, algorithm 4).
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Scores = Float[Tensor, "*rows seen"]
Rows = Float[Tensor, "*lead rows dim"]
ValueRows = Float[Tensor, "*lead rows value_dim"]
TileKeys = Float[Tensor, "*lead seen dim"]
TileValues = Float[Tensor, "*lead seen value_dim"]


def lowest(dtype: torch.dtype) -> float:
    """In place of -inf for a hidden score: a row that sees nothing stays free of nan."""
    return torch.finfo(dtype).min


def softmax(
    scores: Scores,
) -> tuple[Scores, Float[Tensor, "*rows"], Bool[Tensor, "*rows"]]:
    """Weights, log-sum-exp, and which rows see nothing; for those weights mean nothing, and lse 0.

    The log-sum-exp is had from the largest weight, e^(largest score - lse), which costs less than
    a sum of exponentials of its own.
    """
    weights = scores.softmax(-1)
    peak = scores.amax(-1)
    blind = peak == lowest(scores.dtype)
    return weights, (peak - weights.amax(-1).log()).masked_fill_(blind, 0), blind


def gradients(
    weights: Float[Tensor, "*lead rows seen"],
    queries: Rows,
    keys: TileKeys,
    values: TileValues,
    d_outputs: ValueRows,
    delta: Float[Tensor, "*lead rows"],
) -> tuple[Rows, TileKeys, TileValues]:
    """Gradients of outputs = weights @ values with respect to queries, keys and values.

    Of a tile: what other keys contribute to the softmax is in ``delta``, the sum over value_dim
    of output times its gradient (Dao et al., 2022, equation 4). The queries are scaled already,
    and so is what their gradient is of. Overwrites ``weights``.
    """
    d_values = weights.mT @ d_outputs
    d_scores = weights.mul_((d_outputs @ values.mT).sub_(delta.unsqueeze(-1)))
    return d_scores @ keys, d_scores.mT @ queries, d_values
