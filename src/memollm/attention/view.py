"""How a block of queries sees the cached pairs."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class View:
    """Everything but queries, keys and values that decides attention; None changes nothing."""

    scaling: float  # factor on the logits, normally head_dim ** -0.5
    softcap: float | None = None  # logits are bounded by c tanh(x / c) (Gemma 2)
    # learned attention sinks (gpt-oss); where rows are heads of a model, theirs
    sink_logits: Float[Tensor, "*batch heads"] | None = None
    key_scale: Float[Tensor, "batch pairs"] | None = None
    value_scale: Float[Tensor, "batch pairs"] | None = None
    bias: Float[Tensor, "batch pairs"] | None = None
    hidden: Bool[Tensor, "batch pairs"] | None = None  # pairs that no query sees
    allowed: (
        Bool[
            Tensor,
            (
                batch  # heads queries pairs
            ),
        ]
        | None
    ) = None  # who sees whom, in full
    causal_tail: bool = False  # the last pairs are the queries' own

    @property
    def plain(self) -> bool:
        """Whether logits reach the softmax as they are, but for the causal tail."""
        changes = (
            self.softcap, self.sink_logits, self.key_scale, self.bias, self.hidden, self.allowed,
        )  # fmt: skip
        return all(change is None for change in changes)
