"""The untouched model: what every other mode is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Bool, Float
from torch import Tensor

from memollm.modes.base import Mode, Treatment
from memollm.registry import register


@register("mode", "baseline")
@dataclass
class Baseline(Mode):
    """No memory: the model answers bit for bit as it does without this library."""

    has_memory: ClassVar[bool] = False
    graded: ClassVar[bool] = False

    def treat(
        self, retention: Float[Tensor, "batch pairs"] | None, forgotten: Bool[Tensor, "batch pairs"]
    ) -> Treatment:
        return Treatment()
