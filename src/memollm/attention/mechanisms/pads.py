"""Batches of texts of different lengths, for mechanisms in which positions decide.

A row's tokens, taken out from between its pads, are exactly the text alone: its positions, its
blocks and its hash tables are its own. Where a mechanism only needs hidden keys, masking them
together is faster, and ``Mechanism.hides_pads`` says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from memollm.attention.mechanisms.scope import Scope

Compute = Callable[[Tensor, Tensor, Tensor, Scope, nn.Module | None], Tensor]


def row_by_row(
    compute: Compute,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    scope: Scope,
    weights: nn.Module | None,
) -> Tensor:
    """Outputs (batch, heads, queries, value_dim) of each row without its pads; 0 for pads."""
    assert scope.padding is not None
    count, rows = queries.shape[2], []
    for row, real in enumerate(scope.padding):
        mine = real.new_ones(count) if scope.cross else real[-count:]
        seen, asking = real.nonzero()[:, 0], mine.nonzero()[:, 0]
        here = slice(row, row + 1)
        output = queries.new_zeros(1, queries.shape[1], count, values.shape[-1])
        if len(asking) and len(seen):
            some = compute(
                queries[here].index_select(2, asking),
                keys[here].index_select(2, seen),
                values[here].index_select(2, seen),
                _alone(scope, row, asking, seen),
                weights,
            )
            output = output.to(some.dtype).index_copy(2, asking, some)
        rows.append(output)
    return torch.cat(rows)


def _alone(scope: Scope, row: int, asking: Tensor, seen: Tensor) -> Scope:
    mask, hidden = scope.mask, scope.hidden
    if mask is not None:
        mask = mask[row : row + 1] if len(mask) > 1 else mask
        mask = mask.index_select(2, asking).index_select(3, seen)
    if hidden is not None:
        hidden = hidden[row : row + 1].index_select(1, asking)
    return replace(scope, padding=None, mask=mask, hidden=hidden)
