"""The softmax of a block of queries by the compiled kernel, in place, with the mean over heads."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from memollm.native.library import NoKernelError, load

TOLERANCE = 1e-6  # of weights in single precision
NUMBERS_A_THREAD = 2**18  # less is done before a thread has begun


@functools.cache
def softening() -> Callable[..., None] | None:
    """``memollm_soften``, once it has shown that it is right here; None: PyTorch has to do."""
    try:
        function = load().memollm_soften
    except NoKernelError:
        return None
    function.restype = None
    function.argtypes = [ctypes.c_void_p] * 2 + [ctypes.c_int64] * 6
    return function if _is_right(function) else None


def soften(
    logits: Float[Tensor, "rows heads queries pairs"], causal: bool
) -> Float[Tensor, "rows queries pairs"] | None:
    """Make weights of ``logits``, in place; the mean over heads, or None: nothing was done.

    Args:
        logits: one of each row must be finite.
        causal: the last pairs are the queries' own, and each query sees them up to itself.
    """
    fits = (
        logits.device.type == "cpu"
        and logits.dtype == torch.float32
        and logits.is_contiguous()
        and not logits.requires_grad
    )
    function = softening() if fits else None
    return None if function is None else _soften(function, logits, causal)


def _soften(function: Callable[..., None], logits: Tensor, causal: bool) -> Tensor:
    rows, heads, queries, pairs = logits.shape
    mean = logits.new_empty(rows, queries, pairs)
    threads = max(1, min(torch.get_num_threads(), logits.numel() // NUMBERS_A_THREAD))
    shape = rows, heads, queries, pairs
    function(logits.data_ptr(), mean.data_ptr(), *shape, int(causal), threads)
    return mean


def _is_right(function: Callable[..., None]) -> bool:
    """Whether it computes what PyTorch does, on numbers that are the same everywhere."""
    logits = 3 * torch.sin(torch.arange(2.0 * 3 * 5 * 37)).view(2, 3, 5, 37)
    future = torch.ones(5, 37, dtype=torch.bool).triu(33)
    expected = logits.masked_fill(future, -torch.inf).softmax(dim=-1)
    mean = _soften(function, logits, True)
    near = (logits - expected).abs() <= TOLERANCE, (mean - expected.mean(1)).abs() <= TOLERANCE
    return all(bool(it.all()) for it in near)
