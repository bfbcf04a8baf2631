"""Two runs over the same tokens, side by side: where the second leaves the first.

Numbers are accumulated chunk by chunk, so that one chunk of logits and of attention weights is all
that ever exists.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from memollm.evaluation.base import Session, Subject
from memollm.evaluation.streaming import greedy

Outputs = Mapping[int, Float[Tensor, "batch queries heads value_dim"]]


class Divergence:
    """What differs between a subject and its untouched model; one row, fed in chunks."""

    def __init__(self) -> None:
        self._kl: list[Float[Tensor, " queries"]] = []
        self._same: list[Bool[Tensor, " queries"]] = []
        self._lost: dict[int, float] = {}  # attention mass, summed over queries
        self._error: dict[int, float] = {}  # squares of the difference, and of the untouched
        self._norm: dict[int, float] = {}
        self.tokens = 0

    def logits(
        self,
        untouched: Float[Tensor, "queries vocabulary"],
        mine: Float[Tensor, "queries vocabulary"],
    ) -> None:
        """Compare what is predicted after each token of a chunk."""
        p, q = (_wide(it).log_softmax(-1) for it in (untouched, mine))
        self._kl.append((p.exp() * (p - q)).sum(dim=-1).cpu())
        self._same.append((untouched.argmax(-1) == mine.argmax(-1)).cpu())
        self.tokens += len(mine)

    def mass(
        self,
        weights: Mapping[int, Float[Tensor, "batch heads queries pairs"]],
        visible: Mapping[int, Bool[Tensor, "*kv_heads tokens"]],
    ) -> None:
        """Count the attention of the untouched model on what a layer no longer sees.

        Args:
            weights: of the untouched model, by layer.
            visible: of the tokens before the chunk, by layer with a memory; where they differ,
                for each key-value head.
        """
        for layer, paid in weights.items():
            lost = 0.0
            if layer in visible:
                rows = torch.atleast_2d(visible[layer]).to(paid.device)
                groups = paid[0].unflatten(0, (len(rows), -1))
                for group, seen in zip(groups, rows, strict=True):
                    gone = (~seen).nonzero().squeeze(1)
                    lost += float(group[..., gone].double().sum()) / paid.shape[1]
            self._lost[layer] = self._lost.get(layer, 0.0) + lost

    def outputs(self, untouched: Outputs, mine: Outputs) -> None:
        """Compare what the attention of each layer puts out."""
        for layer, dense in untouched.items():
            difference = mine[layer].double() - dense.double()
            self._error[layer] = self._error.get(layer, 0.0) + float(difference.square().sum())
            self._norm[layer] = self._norm.get(layer, 0.0) + float(dense.double().square().sum())

    def found(self) -> dict[str, float | dict[str, float]]:
        """The numbers, as ``Fidelity`` defines them, but for the kept shares."""
        kl = torch.cat(self._kl).double()
        return {
            "kl_mean": float(kl.mean()),
            "kl_p95": float(kl.quantile(0.95)),
            "agreement": float(torch.cat(self._same).double().mean()),
            "mass_lost": {str(it): lost / self.tokens for it, lost in sorted(self._lost.items())},
            "output_error": {
                str(it): math.sqrt(error / self._norm[it])
                for it, error in sorted(self._error.items())
            },
        }


def continuation(
    subject: Subject, session: Session, logits: Float[Tensor, " vocabulary"], tokens: int
) -> list[int]:
    """``tokens`` greedy tokens after a ``session`` that ended with ``logits``."""
    first = int(_wide(logits).argmax())
    with subject.session(session) as again:
        return [first, *greedy(again, [first], tokens - 1, device=subject.device)]


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """Tokens that two sequences begin with alike.

    >>> common([5, 6, 7], [5, 6, 8]), common([5, 6], [5, 6])
    (2, 2)
    """
    pairs = enumerate(zip(one, other, strict=True))
    return next((i for i, (a, b) in pairs if a != b), len(one))


def _wide(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()
