"""Strengths of a few tokens by a layer's gate, in one call.

A gate is small: while decoding, PyTorch takes longer to begin its five operations than to do them.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from memollm.native.library import NoKernelError, load

TOLERANCE = 1e-5  # of a strength, as a share of it, in single precision
MOST = 16  # tokens; of more, matrix products are quicker
LANES = 16  # numbers that the kernel writes at a time
WEIGHTS = ("inner", "inner_bias", "outer", "outer_bias")


@functools.cache
def kernel() -> Callable[..., None] | None:
    """``memollm_gate``, once it has shown that it is right here; None: PyTorch has to do."""
    try:
        function = load().memollm_gate
    except (NoKernelError, AttributeError):  # none, or a library without it
        return None
    function.restype = None
    return function if _is_right(function) else None


class Call(ctypes.Structure):
    """What the kernel is told: addresses and sizes; see ``gate.c``."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("inputs", *WEIGHTS, "strengths", "room")),
        *((name, ctypes.c_int64) for name in ("tokens", "width", "hidden", "outputs")),
        ("least", ctypes.c_float),
    )


class CompiledGate:
    """A gate's weights where the kernel finds them."""

    def __init__(
        self, function: Callable[..., None], weights: Sequence[Tensor], least: float
    ) -> None:
        """``weights``: of the hidden layer, if there is one, and of the outer map: each with bias.

        They are float32 on the CPU. ``least``: what every strength has on top.
        """
        self._function, self._call = function, Call(least=least)
        self._kept = [it.contiguous() for it in weights]
        for name, tensor in zip(WEIGHTS[-len(self._kept) :], self._kept, strict=True):
            setattr(self._call, name, tensor.data_ptr())
        hidden = len(self._kept[0]) if len(self._kept) == len(WEIGHTS) else 0
        self._room = torch.zeros(-(-hidden // LANES) * LANES)
        self._call.room, self._call.hidden = self._room.data_ptr(), hidden
        self._call.width = self._kept[0].shape[1]
        self._call.outputs = self._outputs = len(self._kept[-1])
        self._reference = ctypes.byref(self._call)

    def __deepcopy__(self, memo: dict[int, object]) -> CompiledGate:
        """Itself: it holds nothing of a sequence, and a copied cache may read the same weights."""
        return self

    def strengths(
        self, inputs: Float[Tensor, "batch new width"]
    ) -> Float[Tensor, "batch new outputs"] | None:
        """Of a few tokens; None: not of such tensors."""
        batch, new, _ = inputs.shape
        fits = inputs.dtype == torch.float32 and inputs.is_contiguous() and inputs.is_cpu
        if not fits or batch * new > MOST:
            return None
        call, out = self._call, inputs.new_empty(batch, new, self._outputs)
        call.tokens, call.inputs, call.strengths = batch * new, inputs.data_ptr(), out.data_ptr()
        self._function(self._reference)
        return out


def _is_right(function: Callable[..., None]) -> bool:
    """Whether it computes what PyTorch does, on numbers that are the same everywhere."""
    numbers = torch.sin(torch.arange(2.0 * 37).view(1, 2, 37))
    inner, bias = torch.sin(torch.arange(5.0 * 37)).view(5, 37), torch.arange(5.0) - 2
    outer, shift = torch.cos(torch.arange(3.0 * 5)).view(3, 5), torch.tensor([-3.0, 0.0, 4.0])
    found = CompiledGate(function, [inner, bias, outer, shift], 0.5).strengths(numbers)
    hidden = functional.silu(functional.linear(numbers, inner, bias))
    expected = functional.linear(hidden, outer, shift).exp() + 0.5
    return found is not None and bool(((found / expected - 1).abs() <= TOLERANCE).all())
