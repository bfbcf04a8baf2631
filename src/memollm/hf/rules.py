"""Which rule forgets in each memory layer: the one place where a memory's choice becomes rules."""

from __future__ import annotations

from memollm.memory.ebbinghaus import Memory
from memollm.memory.ebbinghaus_rule import EbbinghausRule
from memollm.memory.rule import Rule
from memollm.memory.threshold import Threshold
from memollm.policies.base import Ranking
from memollm.policies.budget_rule import BudgetRule


def rules(memory: Memory, layers: int) -> list[Rule]:
    """The rule of each of ``layers`` memory layers, first to last."""
    return [_rule(memory, threshold) for threshold in memory.thresholds(layers)]


def _rule(memory: Memory, threshold: Threshold) -> Rule:
    if isinstance(memory.policy, Ranking):
        return BudgetRule(memory.policy, threshold.budget)
    return EbbinghausRule(memory, threshold)
