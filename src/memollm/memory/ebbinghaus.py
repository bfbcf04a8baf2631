"""The memory's configuration: every number that DESIGN section 2 gives a name to."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from memollm.attention.patterns.base import Pattern
from memollm.attention.patterns.none import NoPattern
from memollm.memory.budget import BudgetBy, holding, require_budget
from memollm.memory.granularity import Granularity, HeadBudgets
from memollm.memory.kernel import Kernel
from memollm.memory.policy import EbbinghausPolicy, Policy
from memollm.memory.prefill import PrefillReinforcement
from memollm.memory.retention import ExponentialRetention, RetentionCurve
from memollm.memory.schedule import Constant, Schedule
from memollm.memory.strength.base import Strength
from memollm.memory.strength.constant import Rehearsed
from memollm.memory.threshold import Threshold, numbers, parse, per_layer
from memollm.native.library import NoKernelError, load
from memollm.registry import name_of, register


class Aggregation(StrEnum):
    """Who decides that a token is forgotten."""

    layer = "layer"  # every memory layer alone, for itself
    vote = "vote"  # all memory layers together, once a share of them agrees


@register("memory", "ebbinghaus")
@dataclass
class Memory:
    """A memory on the forgetting curve R = exp(-t / S), rehearsed by attention.

    Per memory layer, each cached token i carries strength S_i and age t_i:

        on insertion          S_i = strength, t_i = 0
        for each later query  t_i += time_step; S_i += reinforcement * a_i, where a_i is the
                              attention weight the query gave i, averaged over query heads;
                              t_i = 0 if a_i >= recall_threshold
        then                  i is forgotten for good if R_i < threshold and i is not protected

    A token that is never rehearsed is kept for ``strength * -ln(threshold) / time_step`` tokens:
    with the defaults 2302.

    >>> Memory().lifetime_tokens(0.01)
    2302.58...
    """

    retention: RetentionCurve = field(default_factory=ExponentialRetention)
    strength: float = 5.0  # S on insertion, in units of time; > 0
    birth: Strength = field(default_factory=Rehearsed)  # whether each token has an S of its own
    time_step: float = 0.01  # time that passes with each token; > 0
    reinforcement: float = 1.0  # strength gained for each unit of attention; >= 0
    recall_threshold: float | None = 0.01  # attention that restarts the clock; None: none does
    policy: Policy = field(default_factory=EbbinghausPolicy)  # who is forgotten first
    pattern: Pattern = field(default_factory=NoPattern)  # who sees whom, of what is not forgotten
    threshold: Any = None  # see memory.threshold; None: 0.01, or what a budget makes of it
    schedule: Schedule = field(default_factory=Constant)  # how the threshold moves with length
    budget: Any = None  # tokens to keep: share (0, 1) or count; see memory.budget
    budget_by: BudgetBy = BudgetBy.rank
    # Tokens; a share is taken of as many at least, so that the beginning of a text is not cut to a
    # share of itself: 0.1 of at least 1024 keeps 102 tokens from the first chunk on.
    budget_length: int = 0
    calibration_tokens: int = 1024  # length at which budget_by=threshold meets the budget; >= 1
    sinks: int = 4  # first tokens, never forgotten; >= 0
    recent: int = 16  # newest tokens, not forgotten while they are; >= 0
    granularity: Granularity = Granularity.layer
    head_budgets: HeadBudgets = HeadBudgets.equal
    head_floor: float = 0.2  # with adaptive: share of an equal budget that each head keeps; [0, 1]
    aggregation: Aggregation = Aggregation.layer
    share: float = 0.5  # of memory layers that must agree, with aggregation=vote; (0, 1]
    layer_fraction: float = 0.5  # of the layers, counted from the first, have memory; (0, 1]
    prefill_chunk: int = 256  # prompt tokens between two applications of retention; >= 1
    prefill_reinforcement: PrefillReinforcement = PrefillReinforcement.exact
    kernel: Kernel = Kernel.auto  # for decoded tokens

    def __post_init__(self) -> None:
        _require("memory_strength", self.strength, 0 < self.strength < math.inf, "> 0")
        _require("memory.time_step", self.time_step, 0 < self.time_step < math.inf, "> 0")
        gain = self.reinforcement
        _require("memory.reinforcement", gain, 0 <= gain < math.inf, ">= 0")
        recall = self.recall_threshold
        _require(
            "memory.recall_threshold",
            recall,
            recall is None or 0 < recall <= 1,
            "in (0, 1] or null",
        )
        _require("memory.sinks", self.sinks, self.sinks >= 0, ">= 0")
        _require("memory.recent", self.recent, self.recent >= 0, ">= 0")
        floor = self.head_floor
        _require("memory.head_floor", floor, 0 <= floor <= 1, "in [0, 1]")
        _require("memory.share", self.share, 0 < self.share <= 1, "in (0, 1]")
        _require("layer_fraction", self.layer_fraction, 0 < self.layer_fraction <= 1, "in (0, 1]")
        _require("memory.prefill_chunk", self.prefill_chunk, self.prefill_chunk >= 1, ">= 1")
        if self.kernel is Kernel.compiled:
            try:
                load()
            except NoKernelError as error:
                raise ValueError(f"memory.kernel=compiled is not to be had: {error}") from error
        self._require_budget()
        self._require_granularity()
        self._require_curve()

    @property
    def by_rank(self) -> bool:
        """Whether a budget decides, at every chunk's end."""
        return self.budget is not None and self.budget_by == BudgetBy.rank

    @property
    def floor(self) -> float | None:
        """The share of its budget that each head keeps for certain; None: all of it, alone."""
        return self.head_floor if self.head_budgets == HeadBudgets.adaptive else None

    def layers(self, total: int) -> int:
        """How many of a model's ``total`` layers have memory: the first ones.

        Raises:
            ValueError: if it is none.
        """
        count = int(self.layer_fraction * total + 1e-9)
        if count == 0:
            raise ValueError(
                f"layer_fraction={self.layer_fraction} is not allowed, it leaves no memory "
                "layer in a "
                f"model of {total} layers; it must be at least {1 / total:.3g}"
            )
        return count

    def thresholds(self, layers: int) -> list[Threshold]:
        """The threshold, or the budget, of each of ``layers`` memory layers.

        Raises:
            ValueError: if it has to be solved for first.
        """
        if self.budget is not None and self.budget_by == BudgetBy.rank:
            return [Threshold(None, self.budget, self.budget_length)] * layers
        if not self.policy.fades:
            return [Threshold()] * layers
        if self.budget_by == BudgetBy.threshold:
            raise ValueError(
                "memory.budget_by=threshold needs a threshold that is solved for the model: give "
                "attach what memollm.hf.calibration.calibrated(model, tokenizer, memory) returns"
            )
        return per_layer(self.threshold, self.budget, layers)

    def solved(self, threshold: float) -> Memory:
        """This memory with the number that its budget comes to."""
        return dataclasses.replace(self, threshold=threshold, budget=None, budget_by=BudgetBy.rank)

    def lifetime_tokens(self, threshold: float) -> float:
        """Tokens for which a token is kept that is never rehearsed."""
        return self.strength * self.retention.lifetime(threshold) / self.time_step

    def _require_budget(self) -> None:
        if self.budget is not None:
            require_budget(self.budget)
        length = self.budget_length
        _require("memory.budget_length", length, length >= 0, ">= 0")
        if length and not (isinstance(self.budget, float) and self.by_rank):
            raise ValueError(
                f"memory.budget_length={length} is not allowed with budget={self.budget} by "
                f"{self.budget_by}: it is what a share that is met by rank is taken of"
            )
        if not self.policy.bounded:
            self.budget, self.budget_length = None, 0  # it keeps all: with any budget, the same
        self.threshold = holding(self.threshold, self.budget, self.policy)
        if self.policy.fades:
            parse(self.threshold, self.budget)
        else:
            self._require_plain()
        if self.policy.fades and self.by_rank and self.aggregation == Aggregation.vote:
            raise ValueError(
                "memory.aggregation=vote is not allowed with a budget by rank: votes need a "
                "threshold, since the layers' budgets would fall on different tokens "
                "(memory.budget_by=threshold makes one of a budget)"
            )
        protected = self.sinks + self.recent
        if isinstance(self.budget, int) and self.budget < protected:
            raise ValueError(
                f"budget={self.budget} is not allowed, it must be at least the "
                f"{protected} protected tokens (memory.sinks + memory.recent)"
            )
        if self.budget_by == BudgetBy.threshold:
            self._require_solvable()

    def _require_granularity(self) -> None:
        by_head = self.granularity == Granularity.head
        if by_head and self.aggregation == Aggregation.vote:
            raise ValueError(
                "memory.granularity=head is not allowed with memory.aggregation=vote: layers vote "
                "on the tokens that all their heads hold"
            )
        if self.head_budgets == HeadBudgets.adaptive and not by_head:
            raise ValueError(
                "memory.head_budgets=adaptive needs memory.granularity=head: with "
                "memory.granularity=layer all heads keep the same tokens"
            )
        if self.head_budgets == HeadBudgets.adaptive and self.policy.bounded and not self.by_rank:
            raise ValueError(
                "memory.head_budgets=adaptive needs a budget for heads to share (budget=0.25, "
                "budget=512), met by rank: under a threshold each head keeps what it keeps"
            )

    def _require_curve(self) -> None:
        """Refuse what the forgetting curve cannot honour."""
        curve = name_of(self.retention)
        if self.retention.by_recall and self.recall_threshold is None:
            raise ValueError(
                f"memory.recall_threshold=null is not allowed with retention={curve}, whose "
                "strength grows by recalls alone: give a number in (0, 1]"
            )
        if self.retention.by_recall and not self.birth.rehearses:
            raise ValueError(
                f"strength={name_of(self.birth)} is not allowed with retention={curve}, whose "
                "strength grows by recalls alone: choose strength=rehearsed, or "
                "strength.rehearsed=true"
            )
        if self.budget_by == BudgetBy.threshold and not self.retention.gradual:
            raise ValueError(
                f"memory.budget_by=threshold is not allowed with retention={curve}, under which a "
                "token lives as long with every threshold"
            )
        if not self.schedule.moves:
            return
        schedule = name_of(self.schedule)
        if not self.policy.fades:
            raise ValueError(
                f"schedule={schedule} is not allowed with policy={name_of(self.policy)}, which "
                "knows no retention: leave it out"
            )
        if self.budget is not None:
            raise ValueError(
                f"schedule={schedule} is not allowed with budget={self.budget}, which decides in "
                "place of a threshold: leave one of them out"
            )
        if not self.retention.gradual:
            raise ValueError(
                f"schedule={schedule} is not allowed with retention={curve}, under which a token "
                "lives as long with every threshold"
            )
        for first in numbers(self.threshold):
            self.schedule.check(first)

    def _require_plain(self) -> None:
        """Refuse what only the forgetting curve can honour."""
        defaults = {
            "budget_by": BudgetBy.rank,
            "aggregation": Aggregation.layer,
            "prefill_reinforcement": PrefillReinforcement.exact,
        }
        for name, default in defaults.items():
            if (value := getattr(self, name)) != default:
                raise ValueError(
                    f"memory.{name}={value} is not allowed with policy={name_of(self.policy)}, "
                    "which knows no retention: leave it out"
                )

    def _require_solvable(self) -> None:
        if self.budget is None:
            raise ValueError("memory.budget_by=threshold needs a budget to solve for")
        length = self.calibration_tokens
        _require("memory.calibration_tokens", length, length >= 1, ">= 1")
        if isinstance(self.budget, int) and self.budget >= length:
            raise ValueError(
                f"budget={self.budget} is not allowed with memory.budget_by=threshold, a text of "
                f"memory.calibration_tokens={length} would lose nothing: make that longer"
            )


def _require(name: str, value: object, allowed: bool, condition: str) -> None:
    if not allowed:
        raise ValueError(f"{name}={value} is not allowed, it must be {condition}")
