"""Soft deletion: everything stays, what fades counts for less."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from jaxtyping import Bool, Float
from torch import Tensor

from memollm.memory.ebbinghaus import Memory
from memollm.modes.base import Mode, Treatment
from memollm.registry import name_of, register


class Target(StrEnum):
    """What a token's weight w is applied to."""

    # K times w: the logit shrinks towards 0 and the weight towards e^0: no eviction limit
    key = "key"
    # V times w: the token keeps its attention and says less
    value = "value"  # pyright: ignore[reportAssignmentType] - hides the enum's own attribute
    both = "both"
    # ln w added to the logit: w -> 0 is eviction
    logit_bias = "logit_bias"


@register("mode", "soft_delete")
@dataclass
class SoftDelete(Mode):
    """Every token is seen, attenuated by w = clamp(R, floor, 1).

    Stored keys and values are never overwritten, so that nothing compounds, unless
    ``compounding``: then each application multiplies onto the weight of the last one.
    """

    target: Target = Target.key
    floor: float = 0.8  # least weight; in [0, 1]
    compounding: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.floor <= 1:
            raise ValueError(f"mode.floor={self.floor} is not allowed, it must lie in [0, 1]")

    @property
    def compounds(self) -> bool:
        return self.compounding

    def check(self, memory: Memory) -> None:
        if not memory.policy.fades:
            raise ValueError(
                f"policy={name_of(memory.policy)} is not allowed with mode=soft_delete, which "
                "attenuates tokens by their retention: choose mode=sparse_attention, or "
                "policy=ebbinghaus"
            )
        if memory.budget is not None:
            raise ValueError(
                f"budget={memory.budget} is not allowed with mode=soft_delete, which keeps and "
                "reads every token, so that a budget would change nothing: leave it out, or choose "
                "mode=sparse_attention"
            )

        if memory.schedule.moves:
            raise ValueError(
                f"schedule={name_of(memory.schedule)} is not allowed with mode=soft_delete, which "
                "forgets nothing, so that a moving threshold would change nothing: leave it out, "
                "or choose mode=sparse_attention"
            )

    def treat(
        self, retention: Float[Tensor, "batch pairs"] | None, forgotten: Bool[Tensor, "batch pairs"]
    ) -> Treatment:
        assert retention is not None
        weight = retention.clamp(min=self.floor, max=1.0)
        match self.target:
            case Target.key:
                return Treatment(key_scale=weight)
            case Target.value:
                return Treatment(value_scale=weight)
            case Target.both:
                return Treatment(key_scale=weight, value_scale=weight)
            case Target.logit_bias:
                return Treatment(bias=weight.log())
