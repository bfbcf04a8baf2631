"""The softmax of a block of queries by the compiled kernel, in place, with the mean over heads."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from memollm.native.library import NoKernelError, load
from memollm.native.step import DTYPES

TOLERANCE = 1e-6  # of weights in single precision
NUMBERS_A_THREAD = 2**18  # less is done before a thread has begun


@functools.cache
def softening() -> Callable[..., int] | None:
    """``memollm_soften``, once it has shown that it is right here; None: PyTorch has to do."""
    try:
        function = load().memollm_soften
    except (NoKernelError, AttributeError):
        return None
    function.restype = ctypes.c_int
    function.argtypes = [ctypes.c_void_p] * 2 + [ctypes.c_int64] * 7
    return function if _is_right(function) else None


def soften(
    logits: Float[Tensor, "rows heads queries pairs"], causal: bool, observed: bool = True
) -> Float[Tensor, "observed queries pairs"] | None:
    """Make weights of ``logits``, in place; None: nothing was done.

    Args:
        logits: one that each query sees must be finite.
        causal: the last pairs are the queries' own, and each query sees them up to itself.
        observed: whether anybody reads what is returned.

    Returns:
        The weights' mean over heads, in single precision; empty if it is not ``observed``.
    """
    fits = (
        logits.device.type == "cpu"
        and logits.dtype in DTYPES
        and logits.is_contiguous()
        and not logits.requires_grad
    )
    function = softening() if fits else None
    return None if function is None else _soften(function, logits, causal, observed)


def _soften(
    function: Callable[..., int], logits: Tensor, causal: bool, observed: bool
) -> Tensor | None:
    rows, heads, queries, pairs = logits.shape
    mean = torch.empty((rows, queries, pairs) if observed else (0, queries, pairs))
    threads = max(1, min(torch.get_num_threads(), logits.numel() // NUMBERS_A_THREAD))
    failed = function(
        logits.data_ptr(), mean.data_ptr() if observed else None, rows, heads, queries, pairs,
        int(causal), int(logits.dtype == torch.bfloat16), threads,
    )  # fmt: skip
    return None if failed else mean


def _is_right(function: Callable[..., int]) -> bool:
    """Whether it computes what PyTorch does, on numbers that are the same everywhere."""
    logits = 3 * torch.sin(torch.arange(2.0 * 3 * 5 * 37)).view(2, 3, 5, 37)
    future = torch.ones(5, 37, dtype=torch.bool).triu(33)
    expected = logits.masked_fill(future, -torch.inf).softmax(dim=-1)
    mean = _soften(function, logits, True, True)
    if mean is None:
        return False
    near = (logits - expected).abs() <= TOLERANCE, (mean - expected.mean(1)).abs() <= TOLERANCE
    return all(bool(it.all()) for it in near)
