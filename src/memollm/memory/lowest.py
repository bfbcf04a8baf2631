"""Who goes when a budget is exceeded: the lowest priorities, of each row or of all its heads."""

from __future__ import annotations

from jaxtyping import Bool, Float, Int
from torch import Tensor

from memollm.memory.forgetting import over_budget, over_shared_budget
from memollm.memory.tokens import Tokens


def lowest(
    priority: Float[Tensor, "batch pairs"],
    tokens: Tokens,
    keep: Int[Tensor, " batch"],
    floor: float | None,
) -> Bool[Tensor, "batch pairs"]:
    """Tokens to forget so that ``keep`` remain in each row.

    Args:
        priority: of each slot; finite where a token may be forgotten.
        tokens: the slots.
        keep: tokens that may remain in each row.
        floor: None: each row keeps its own number; else the heads of a sequence share the sum, and
            each keeps this share of its own for certain.
    """
    rest = tokens.position, tokens.present, tokens.spared, keep
    if floor is None:
        return over_budget(priority, *rest)
    return over_shared_budget(priority, *rest, tokens.heads, floor)
