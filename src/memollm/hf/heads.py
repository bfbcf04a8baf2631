"""A memory for each key-value head: heads become rows of the batch.

What forgets token by token forgets row by row, so a layer whose key-value heads each have a memory
of their own is a batch of layers with one head. Row ``sequence * kv_heads + head`` holds one head
of one sequence, with the query heads that share it.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from memollm.attention.view import View


def fold(
    tensor: Float[Tensor, "batch heads queries dim"], kv_heads: int
) -> Float[Tensor, "rows group queries dim"]:
    """Queries, keys or values with each key-value head, and what shares it, in a row of its own.

    >>> fold(torch.arange(8.0).view(1, 4, 2, 1), kv_heads=2)[1].flatten().tolist()
    [4.0, 5.0, 6.0, 7.0]
    """
    batch, heads, count, dim = tensor.shape
    return tensor.reshape(batch * kv_heads, heads // kv_heads, count, dim)


def unfold(
    tensor: Float[Tensor, "rows group queries dim"], kv_heads: int
) -> Float[Tensor, "batch heads queries dim"]:
    """What ``fold`` folded, as it was."""
    rows, group, count, dim = tensor.shape
    return tensor.reshape(rows // kv_heads, group * kv_heads, count, dim)


def fold_view(view: View, batch: int, kv_heads: int) -> View:
    """``view`` for folded rows: learned sinks are a number for each query head."""
    if view.sink_logits is None:
        return view
    sinks = view.sink_logits.view(kv_heads, -1).repeat(batch, 1)
    return replace(view, sink_logits=sinks)


def rows_of(sequences: Int[Tensor, " sequences"], kv_heads: int) -> Int[Tensor, " rows"]:
    """The rows of some sequences, in order.

    >>> rows_of(torch.tensor([2, 0]), kv_heads=2).tolist()
    [4, 5, 0, 1]
    """
    heads = torch.arange(kv_heads, device=sequences.device)
    return (sequences[:, None] * kv_heads + heads).flatten()
