"""Which rule forgets in each memory layer: the one place where a memory's choice becomes rules."""

from __future__ import annotations

from collections.abc import Sequence

from memollm.memory.ebbinghaus import Memory
from memollm.memory.ebbinghaus_rule import EbbinghausRule
from memollm.memory.rule import Rule
from memollm.memory.strength.base import Source
from memollm.memory.threshold import Threshold
from memollm.modes.base import Mode
from memollm.policies.base import Ranking
from memollm.policies.budget_rule import BudgetRule
from memollm.policies.full import Full


def rules(memory: Memory, mode: Mode, sources: Sequence[Source | None]) -> list[Rule]:
    """The rule of each memory layer, first to last; ``sources``: who gives its tokens strength."""
    if not mode.forgets:
        return [BudgetRule(Full(), Threshold())] * len(sources)
    thresholds = memory.thresholds(len(sources))
    return [_rule(memory, *it) for it in zip(thresholds, sources, strict=True)]


def _rule(memory: Memory, threshold: Threshold, source: Source | None) -> Rule:
    if isinstance(memory.policy, Ranking):
        return BudgetRule(memory.policy, threshold, memory.floor)
    return EbbinghausRule(memory, threshold, source)
