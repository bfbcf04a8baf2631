"""A policy: whose turn it is to be forgotten.

The memory's own policy is the forgetting curve. The others (room ``policies``) rank the cached
tokens by something else and forget whatever a budget leaves no room for: published methods and
controls, over the same store, so that they can be compared at equal numbers of kept tokens.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import ClassVar

from memollm.registry import register


@dataclass
class Policy(abc.ABC):  # noqa: B024 - what a policy does is its kind's affair
    """Who is forgotten first."""

    fades: ClassVar[bool]  # by the memory's forgetting curve: a threshold may stand for a budget
    bounded: ClassVar[bool]  # whether a budget decides how many tokens stay
    ignored: ClassVar[frozenset[str]]  # fields of the memory that no result depends on


@register("policy", "ebbinghaus")
@dataclass
class EbbinghausPolicy(Policy):
    """The lowest retention goes first: the memory's own rule (see ``Memory``).

    With a threshold, whatever lies below it is forgotten; with a budget, the lowest retention is,
    until no more than the budget remains.
    """

    fades: ClassVar[bool] = True
    bounded: ClassVar[bool] = True
    ignored: ClassVar[frozenset[str]] = frozenset()
