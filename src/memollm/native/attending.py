"""Attention of one query in every row, by the compiled kernel."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from memollm.native.library import NoKernelError, load
from memollm.native.step import fits, heads, scratch, shaped, threads

TOLERANCE = 1e-5  # of a weighted mean of numbers near 1 in single precision


@functools.cache
def kernel() -> Callable[[Any], None] | None:
    """``memollm_decode``, once it has shown that it is right here; None: PyTorch has to do."""
    try:
        function = load().memollm_decode
    except (NoKernelError, AttributeError):
        return None
    function.restype = None
    return function if _is_right(function) else None


def attend_natively(
    queries: Float[Tensor, "rows heads 1 dim"],
    keys: Float[Tensor, "rows kv_heads pairs dim"],
    values: Float[Tensor, "rows kv_heads pairs value_dim"],
    scaling: float,
) -> Float[Tensor, "rows heads 1 value_dim"] | None:
    """softmax(q k^T * scaling) v; None: there is no kernel, or not for such tensors."""
    function = kernel() if fits(queries, keys, values) else None
    return None if function is None else _attend(function, queries, keys, values, scaling)


def _attend(
    function: Callable[[Any], None], queries: Tensor, keys: Tensor, values: Tensor, scaling: float
) -> Tensor:
    step = shaped(queries, keys, values, keys.shape[2])
    step.queries, step.keys, step.values = heads(queries), heads(keys), heads(values)
    out = queries.new_empty(*queries.shape[:3], values.shape[3])
    room = scratch(step)
    step.out, step.scratch = out.data_ptr(), room.data_ptr()
    step.slots, step.scaling, step.threads = keys.shape[2], scaling, 1
    step.threads = threads(step)
    function(ctypes.byref(step))
    return out


def _is_right(function: Callable[[Any], None]) -> bool:
    """Whether it computes what PyTorch does, on numbers that are the same everywhere."""
    numbers = torch.arange(3 * 2 * 37 * 32).reshape(3, 2, 37, 32)
    keys, values = torch.sin(numbers.float()), torch.cos(numbers.float())
    queries = torch.sin(7.0 * numbers.float()).reshape(3, -1, 1, 32)[:, :6]
    found = _attend(function, queries, keys, values, 0.3)
    logits = (queries * 0.3).view(3, 2, 3, 32) @ keys.transpose(2, 3)
    expected = (logits.softmax(dim=-1) @ values).view(3, 6, 1, 32)
    return bool(((found - expected).abs() <= TOLERANCE).all())
