"""Granularity: what has a memory of its own, and how a layer's heads share a budget.

By layer, the key-value heads of a layer hold the same tokens. By head each holds its own: it is
rehearsed by the query heads that share it, and a budget is the head's, so that a layer keeps
``heads * budget`` pairs either way.
"""

from __future__ import annotations

from enum import StrEnum


class Granularity(StrEnum):
    """What remembers and forgets for itself."""

    layer = "layer"
    head = "head"  # each key-value head of a layer


class HeadBudgets(StrEnum):
    """How many tokens each head of a layer keeps of the layer's budget."""

    equal = "equal"
    # The lowest priority over all heads of the layer goes first, whosever it is, but for a floor
    # in each head (Ada-KV, Feng et al., 2024, arXiv:2407.11550).
    adaptive = "adaptive"
