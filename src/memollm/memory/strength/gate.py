"""A gate: a small network that reads what a layer is given and says how long a token will live."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class Gate(nn.Module):
    """log lifetime (tokens) of each token, > 0: softplus of an affine map or of one hidden layer.

    A token of lifetime tau is remembered exp(-age / tau) at an age in tokens, so that in the
    memory's units S = tau * time_step. TRIM-KV (Bui et al., 2025, arXiv:2512.03324) writes the same
    curve as beta ** age: ln beta = -1 / tau. A fresh gate gives every token ``lifetime``, whatever
    it reads, so that nothing is forgotten that much sooner than it.
    """

    def __init__(self, width: int, hidden: int, outputs: int, lifetime: float) -> None:
        """``hidden`` = 0: no hidden layer. ``outputs``: 1, or one for each key-value head."""
        super().__init__()
        self.inner = nn.Linear(width, hidden) if hidden else None
        self.outer = nn.Linear(hidden or width, outputs)
        nn.init.zeros_(self.outer.weight)
        nn.init.constant_(self.outer.bias, math.log(lifetime - 1))  # softplus(x) = ln(1 + e^x)

    def forward(self, given: Float[Tensor, "*tokens width"]) -> Float[Tensor, "*tokens outputs"]:
        if self.inner is not None:
            given = functional.silu(self.inner(given))
        return functional.softplus(self.outer(given))

    @property
    def outputs(self) -> int:
        return self.outer.out_features

    @property
    def width(self) -> int:
        """Of what it reads."""
        return (self.inner or self.outer).in_features

    @torch.no_grad()
    def standardised(self, mean: Float[Tensor, " width"], spread: Float[Tensor, " width"]) -> Gate:
        """The gate that gives for x what this one gives for (x - mean) / spread.

        Features of a residual stream differ in size by orders of magnitude: a gate is trained on
        standardised ones, and stored so that nothing of that is left to do at inference.
        """
        hidden = 0 if self.inner is None else self.inner.out_features
        folded = Gate(self.width, hidden, self.outputs, lifetime=2.0)
        folded.load_state_dict(self.state_dict())
        first = folded.inner or folded.outer
        first.weight.div_(spread)
        first.bias.sub_(first.weight @ mean)
        return folded.to(first.weight)
