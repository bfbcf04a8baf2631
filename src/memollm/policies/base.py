"""Policies that rank: a number for each token, and the lowest are forgotten.

Published methods keep another set of tokens in each key-value head, and so does each policy with
``memory.granularity=head``. By default a layer keeps one set for all its heads, so that a policy
averages over heads what the original has for one of them.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memollm.memory.policy import Policy
from memollm.memory.tokens import Tokens

FIRST = torch.finfo(torch.float64).max  # priority of what is kept first; inf is protection's own
CURVE = {"retention", "strength", "birth", "time_step", "reinforcement", "recall_threshold"}
CHOICES = {"threshold", "schedule", "budget_by", "calibration_tokens", "aggregation", "share"}


@dataclass
class Ranking(Policy):
    """Ranks the cached tokens at each chunk's end; a budget keeps the highest.

    Ties go to the newer position. The memory's ``sinks`` and ``recent`` tokens are protected from
    every policy alike, and count towards the budget.
    """

    fades: ClassVar[bool] = False
    bounded: ClassVar[bool] = True
    ignored: ClassVar[frozenset[str]] = frozenset(CURVE | CHOICES)
    columns: ClassVar[Mapping[str, float | None]] = {}  # see memory.rule.Rule
    observes: ClassVar[bool] = False  # whether ``observe`` is to be called

    def observe(  # noqa: B027 - many policies look at nothing
        self,
        state: Mapping[str, Tensor],
        attention: Float[Tensor, "batch queries pairs"],
        queries: Int[Tensor, "batch queries"],
        seen: Int[Tensor, " batch"],
    ) -> None:
        """Account for a block of queries; see ``memory.rule.Rule.observe``."""

    @abc.abstractmethod
    def priority(self, tokens: Tokens, keep: Int[Tensor, " batch"]) -> Float[Tensor, "batch pairs"]:
        """How much each token is worth keeping, in float64; finite; of free slots, anything.

        Args:
            tokens: the cached tokens.
            keep: how many of them the budget keeps in each row.
        """

    def acts(self, tokens: Tokens) -> Bool[Tensor, " batch"]:
        """Rows in which tokens may be forgotten at this chunk's end."""
        return torch.ones_like(tokens.seen, dtype=torch.bool)
