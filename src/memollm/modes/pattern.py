"""A sparse pattern alone: who sees whom is fixed, and nothing is forgotten."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Bool, Float
from torch import Tensor

from memollm.memory.ebbinghaus import Aggregation, Memory
from memollm.modes.base import Mode, Treatment
from memollm.registry import groups, name_of, register


@register("mode", "pattern")
@dataclass
class PatternMode(Mode):
    """Memory layers keep every token, and each query sees those that the pattern lets through.

    Any other mode takes a pattern, too: then a query sees what both it and the memory leave.
    """

    graded: ClassVar[bool] = False
    forgets: ClassVar[bool] = False

    @property
    def evicts(self) -> bool:
        return True  # nothing but pads

    def check(self, memory: Memory) -> None:
        if not memory.pattern.limits:
            names = ", ".join(sorted(groups()["pattern"]))
            raise ValueError(
                f"pattern={name_of(memory.pattern)} is not allowed with mode=pattern, which needs "
                f"one: choose from {names}"
            )
        unread = {
            "budget": (memory.budget, None),
            "policy": (name_of(memory.policy), "ebbinghaus"),
            "memory.aggregation": (memory.aggregation, Aggregation.layer),
        }
        for key, (value, default) in unread.items():
            if value != default:
                raise ValueError(
                    f"{key}={value} is not allowed with mode=pattern, where nothing is forgotten: "
                    f"leave it out, or choose mode=sparse_attention pattern="
                    f"{name_of(memory.pattern)}"
                )

    def treat(
        self, retention: Float[Tensor, "batch pairs"] | None, forgotten: Bool[Tensor, "batch pairs"]
    ) -> Treatment:
        return Treatment(keep=~forgotten)
