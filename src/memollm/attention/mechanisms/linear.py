"""Linear attention."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import elu

from memollm.attention.mechanisms.kernelised import Kernelised
from memollm.registry import register


@register("mechanism", "linear")
@dataclass
class Linear(Kernelised):
    """phi(x) = elu(x) + 1: x + 1 above 0, e^x below.

    O(N dim value_dim) time, O(N) memory; a cache of dim * (value_dim + 1) numbers a head.
    Katharopoulos et al., 2020, arXiv:2006.16236, equation 7; no scale but the projections' own.
    Oracle: the quadratic form, phi(q) phi(k)^T divided by its row sums, times v.
    """

    def features(
        self, queries: Tensor, keys: Tensor, first_query: int, first_key: int
    ) -> tuple[Tensor, Tensor]:
        return elu(queries).add_(1), elu(keys).add_(1)
