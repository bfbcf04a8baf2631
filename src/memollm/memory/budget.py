"""Budgets: how many tokens may stay, and which threshold goes with that.

A budget is a share of the tokens seen, in (0, 1), or a number of tokens. Two ways meet it:

    rank        exactly, at every chunk's end: the lowest priority is forgotten until no more than
                the budget remains. Each layer keeps as many tokens as any policy would.
    threshold   on average: one threshold is solved for, so that a calibration text of
                ``calibration_tokens`` tokens ends with the budget. Layers, texts and lengths then
                differ, as they do under a threshold that somebody chose.

The first is the default: numbers of kept tokens that are equal by construction are what controls
are compared at. The second is the rule itself, at a cost that is known beforehand.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from memollm.memory.policy import Policy
from memollm.memory.threshold import AUTO
from memollm.registry import name_of

DEFAULT_THRESHOLD = 0.01  # of the forgetting curve, where there is no budget


class BudgetBy(StrEnum):
    """What meets the budget."""

    rank = "rank"
    threshold = "threshold"


def holding(threshold: Any, budget: Any, policy: Policy) -> Any:
    """The threshold that holds: the one given, or what follows from the policy and the budget.

    Args:
        threshold: as the user gave it; None: not at all.
        budget: likewise.
        policy: who is forgotten first.

    Returns:
        What ``memory.threshold`` reads; None for a policy that knows no retention.

    Raises:
        ValueError: if the policy needs what is missing, or cannot read what was given.
    """
    if policy.fades:
        if threshold is not None:
            return threshold
        return DEFAULT_THRESHOLD if budget is None else AUTO
    name = name_of(policy)
    if threshold not in (None, AUTO):
        raise ValueError(
            f"threshold={threshold} is not allowed with policy={name}, which knows no retention: "
            "leave it out, its budget decides (budget=0.25, budget=512)"
        )
    if budget is None and policy.bounded:
        raise ValueError(
            f"policy={name} needs a budget: the share of the tokens to keep, in (0, 1), or their "
            "number (budget=0.25, budget=512)"
        )
    return None


def require_budget(budget: Any) -> None:
    """Refuse what is no budget.

    Raises:
        ValueError: naming the value and what is allowed.
    """
    whole = isinstance(budget, int) and not isinstance(budget, bool)
    share = isinstance(budget, float) and 0 < budget < 1
    if not (share or (whole and budget >= 1)):
        raise ValueError(
            f"budget={budget} is not allowed, it must be a share of the tokens in (0, 1) or a "
            "whole number of tokens >= 1 (nothing is forgotten with policy=full)"
        )
