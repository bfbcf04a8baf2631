"""Floating-point operations of a piece of work: those of its matrix products."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

_FUSED = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_FUSED_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def operations(work: Callable[[], object]) -> int:
    """Of matrix products, two to a multiplication; fused attention counts hidden pairs, too.

    >>> operations(lambda: torch.ones(2, 3) @ torch.ones(3, 4))
    48
    """
    fused = {_FUSED: _forward, _FUSED_BACKWARD: _backward}  # of a CPU; torch knows those of a GPU
    with FlopCounterMode(display=False, custom_mapping=fused) as counter:
        work()
    return counter.get_total_flops()


def _products(queries: Sequence[int], keys: Sequence[int], values: Sequence[int]) -> int:
    batch, heads, count, dim = queries
    return 2 * batch * heads * count * keys[2] * (dim + values[3])


def _forward(
    queries: Sequence[int], keys: Sequence[int], values: Sequence[int], *rest: Any, **named: Any
) -> int:
    return _products(queries, keys, values)


def _backward(
    gradient: Sequence[int], queries: Sequence[int], keys: Sequence[int], values: Sequence[int],
    *rest: Any, **named: Any,
) -> int:  # fmt: skip
    """Five products where the forward pass has two: scores again, and four gradients."""
    return _products(queries, keys, values) * 5 // 2
