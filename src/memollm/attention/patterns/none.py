"""No pattern: what a model's own attention sees."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from memollm.attention.patterns.base import Pattern
from memollm.registry import register


@register("pattern", "none")
@dataclass
class NoPattern(Pattern):
    """Every token sees all before it, and no code of a pattern runs."""

    limits: ClassVar[bool] = False

    @property
    def whole(self) -> float:
        return math.inf
