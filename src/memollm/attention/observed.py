"""Attention of a block of queries of which a memory asks what was attended to, head by head or not.

The compiled kernel takes a block's softmax and its mean over heads in one pass, in place.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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
)  # fmt: skip
from memollm.attention.view import View
from memollm.native.softening import soften


@dataclass(frozen=True)
class Observed:
    """Outputs, weights, and the mean of the weights over the heads of a row."""

    out: Output
    weights: Weights
    mean: Float[Tensor, "batch queries pairs"]


def attend_observed(
    queries: Queries, keys: Keys, values: Values, view: View, compiled: bool
) -> Observed:
    """As ``attend``, with the mean; ``compiled``: by the compiled kernel, where there is one."""
    if compiled and view.sink_logits is None:
        weights = logits(queries, keys, replace(view, causal_tail=False))
        mean = soften(weights, view.causal_tail)
        if mean is not None:
            return Observed(mixed(weights, values, view), weights, mean)
    out, weights = attend(queries, keys, values, view)
    return Observed(out, weights, head_mean(weights))
