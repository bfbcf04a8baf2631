"""Nystrom attention: softmax through landmarks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from memollm.attention.mechanisms.base import (
    Keys,
    Mechanism,
    Output,
    Queries,
    Supports,
    Values,
    require_whole,
)
from memollm.attention.mechanisms.scope import Scope
from memollm.nsa.layout import wide
from memollm.registry import register


@register("mechanism", "nystrom")
@dataclass
class Nystrom(Mechanism):
    """o = softmax(q k~^T) softmax(q~ k~^T)^+ softmax(q~ k^T) v, scores scaled by 1 / sqrt(d).

    q~ and k~ are the means of ``num_landmarks`` segments. The inverse is Newton and Schulz's, with
    the paper's polynomial. Its 6 iterations stop before they arrive: where there are as many
    landmarks as tokens 20 are exact, but of few landmarks the matrix is nearly singular, and its
    true inverse does more harm. O(N num_landmarks) time and memory. Means are over the whole text,
    so that it cannot be causal. For queries and keys that point everywhere few landmarks say
    little. Xiong et al., 2021, arXiv:2102.03902, without its convolution.
    Oracle: ``full``, with as many landmarks as tokens.
    """

    supports: ClassVar[Supports] = Supports(causal=False, mask=False, cache=False, slopes=False)

    num_landmarks: int = 64  # >= 1
    iterations: int = 6  # >= 1

    def __post_init__(self) -> None:
        require_whole("num_landmarks", self.num_landmarks, 1)
        require_whole("iterations", self.iterations, 1)

    def compute(
        self, queries: Queries, keys: Keys, values: Values, scope: Scope, weights: nn.Module | None
    ) -> Output:
        dtype, group = wide(queries.dtype), queries.shape[1] // keys.shape[1]
        scale = queries.shape[-1] ** -0.5 if scope.scale is None else scope.scale
        q, k, v = (it.to(dtype) for it in (queries, keys, values))
        k, v = (it.repeat_interleave(group, 1) for it in (k, v)) if group > 1 else (k, v)
        number = min(self.num_landmarks, q.shape[2], k.shape[2])
        q = q * scale
        some_q, some_k = segment_means(q, number), segment_means(k, number)
        inverse = newton_schulz((some_q @ some_k.mT).softmax(-1), self.iterations)
        context = (some_q @ k.mT).softmax(-1) @ v
        return (q @ some_k.mT).softmax(-1) @ (inverse @ context)


def segment_means(
    tokens: Float[Tensor, "batch heads tokens dim"], number: int
) -> Float[Tensor, "batch heads number dim"]:
    """Means of ``number`` segments whose lengths differ by one at most.

    >>> segment_means(torch.tensor([1.0, 2.0, 4.0]).view(1, 1, 3, 1), 2).flatten()
    tensor([1.5000, 4.0000])
    """
    count = tokens.shape[2]
    segment = torch.arange(count, device=tokens.device) * number // count
    lengths = torch.bincount(segment, minlength=number).to(tokens.dtype)
    sums = tokens.new_zeros(*tokens.shape[:2], number, tokens.shape[3])
    return sums.index_add(2, segment, tokens) / lengths[:, None]


def newton_schulz(
    matrix: Float[Tensor, "*lead number number"], iterations: int
) -> Float[Tensor, "*lead number number"]:
    """The pseudo-inverse of a matrix of softmax rows, approached as in the paper's equation 11."""
    unit = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    # Every row sums to 1, so that the largest column sum alone bounds the matrix.
    inverse = matrix.mT / matrix.sum(-2, keepdim=True).amax(-1, keepdim=True)
    for _ in range(iterations):
        product = matrix @ inverse
        inner = 7 * unit - product
        inverse = inverse @ (13 * unit - product @ (15 * unit - product @ inner)) / 4
    return inverse
