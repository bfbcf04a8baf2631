"""What the compiled kernel is told: addresses, strides and numbers of one step of one layer."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

LANES = 16  # numbers that the kernel takes together: a head's size is a multiple of them
BYTES_A_THREAD = 2**20  # of keys and values; less is done before a thread has begun
DTYPES = (torch.float32, torch.bfloat16)


class Heads(ctypes.Structure):
    """A tensor (rows, heads, slots, dim) whose last two axes are contiguous."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("row", ctypes.c_int64),
        ("head", ctypes.c_int64),
    ]


class Step(ctypes.Structure):
    """The fields of ``Step`` in ``decode.c``, in its order."""

    _fields_ = [
        *((name, Heads) for name in ("queries", "new_keys", "new_values", "keys", "values")),
        *(
            (name, ctypes.c_void_p)
            for name in (
                "out", "weights", "scratch", "strength", "recalled", "position", "seen",
                "key_scale", "value_scale", "bias", "hidden",
            )
        ),
        *(
            (name, ctypes.c_int64)
            for name in (
                "rows", "kv_heads", "group", "dim", "value_dim", "slots", "capacity", "stride",
                "threads",
            )
        ),
        *((name, ctypes.c_float) for name in ("scaling", "reinforcement", "recall_threshold")),
        *((name, ctypes.c_int32) for name in ("half", "recalls")),
    ]  # fmt: skip


def heads(tensor: Tensor) -> Heads:
    """Where a tensor (rows, heads, slots, dim) lies."""
    strides = tensor.stride()
    return Heads(tensor.data_ptr(), strides[0], strides[1])


def shaped(queries: Tensor, keys: Tensor, values: Tensor, capacity: int) -> Step:
    """A step whose shapes are those of queries (rows, heads, 1, dim) and of keys and values."""
    step = Step()
    step.rows, step.kv_heads, _, step.dim = keys.shape
    step.value_dim = values.shape[3]
    step.group = queries.shape[1] // keys.shape[1]
    step.capacity = capacity
    step.stride = -(-capacity // LANES) * LANES
    step.half = int(keys.dtype == torch.bfloat16)
    return step


def scratch(step: Step) -> Tensor:
    """Room for a step's logits, and what each head attended to."""
    return torch.empty(step.rows * step.kv_heads * (step.group + 1) * step.stride)


def threads(step: Step) -> int:
    """How many to use: no more than PyTorch may, nor than there is work for."""
    work = step.rows * step.kv_heads
    most = torch.get_num_threads()
    if most == 1:
        return 1
    read = work * step.slots * (step.dim + step.value_dim) * (2 if step.half else 4)
    return max(1, min(most, work, read // BYTES_A_THREAD))


def fits(queries: Tensor, keys: Tensor, values: Tensor) -> bool:
    """Whether the kernel knows such tensors (rows, heads, slots, dim), of one query a row."""
    return (
        queries.device.type == "cpu"
        and queries.shape[2] == 1
        and queries.dtype in DTYPES
        and queries.dtype == keys.dtype == values.dtype
        and queries.shape[3] % LANES == values.shape[3] % LANES == 0
        and not (torch.is_grad_enabled() and (queries.requires_grad or keys.requires_grad))
        and all(_in_rows(it) for it in (queries, keys, values))
    )


def _in_rows(tensor: Tensor) -> bool:
    """Whether slots follow each other, number by number."""
    strides, shape = tensor.stride(), tensor.shape
    return strides[3] == 1 and (shape[2] == 1 or strides[2] == shape[3])
