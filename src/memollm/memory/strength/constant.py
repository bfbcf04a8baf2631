"""One strength for all: what a token is does not matter, only its age and, perhaps, attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from memollm.memory.strength.base import Reads, Strength
from memollm.registry import register


@register("strength", "rehearsed")
@dataclass
class Rehearsed(Strength):
    """Every token begins with ``memory_strength``; attention strengthens it (see ``Memory``)."""

    reads: ClassVar[Reads] = Reads.nothing

    @property
    def rehearses(self) -> bool:
        return True


@register("strength", "constant")
@dataclass
class Constant(Strength):
    """Every token keeps ``memory_strength``, whatever attends to it: a sliding window."""

    reads: ClassVar[Reads] = Reads.nothing

    @property
    def rehearses(self) -> bool:
        return False
