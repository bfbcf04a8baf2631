"""Attention of a block of queries of which a memory asks what was attended to.

The compiled kernel takes a block's softmax and its mean over heads in one pass, in place.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from memollm.attention.kernel import (
    Keys,
    Output,
    Queries,
    Values,
    Weights,
    attend,
    head_mean,
    logits,
    mixed,
)
from memollm.attention.view import View
from memollm.native.softening import soften


@dataclass(frozen=True)
class Observed:
    """Outputs, weights in single precision at least, and their mean over the heads of a row."""

    out: Output
    weights: Weights | None  # None: nobody asked for them
    mean: Float[Tensor, "batch queries pairs"]


def attend_observed(
    queries: Queries, keys: Keys, values: Values, view: View, compiled: bool, shown: bool
) -> Observed:
    """As ``attend``, with the mean.

    Args:
        queries: as ``attend`` takes them, as the next three.
        keys: see there.
        values: see there.
        view: see there.
        compiled: use the compiled kernel, where there is one.
        shown: whether the weights themselves are asked for.
    """
    whole = queries.dtype == torch.float32
    if compiled and view.sink_logits is None and (whole or not shown):
        weights = logits(queries, keys, replace(view, causal_tail=False))
        mean = soften(weights, view.causal_tail)
        if mean is not None:
            return Observed(mixed(weights, values, view), weights if shown else None, mean)
    out, weights = attend(queries, keys, values, view)
    return Observed(out, weights, head_mean(weights))


def attend_unobserved(queries: Queries, keys: Keys, values: Values, view: View) -> Output:
    """As ``attend``, outputs alone, by the compiled kernel where there is one."""
    if view.sink_logits is None:
        weights = logits(queries, keys, replace(view, causal_tail=False))
        if soften(weights, view.causal_tail, observed=False) is not None:
            return mixed(weights, values, view)
    return attend(queries, keys, values, view)[0]
