"""What a training of gates is made of, as types."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from memollm.memory.budget import BudgetBy
from memollm.memory.strength.base import Reads

READABLE = (Reads.inputs, Reads.keys)


class Scope(StrEnum):
    """Who has a lifetime of its own for each token."""

    layer = "layer"
    head = "head"  # each key-value head


class Context(StrEnum):
    """How the model reads what comes before the graded tokens."""

    untouched = "untouched"  # as it is; shared with the teacher, which saves a third of the time
    damped = "damped"  # as it will read it


@dataclass
class GateTraining:
    """One training; with the model and the seed it decides every weight of the gates.

    The loss, of the last ``graded`` tokens of each sequence:

        distillation * KL(untouched model || damped model) + next_token * cross-entropy
        + attention * mean over layers and heads of -ln(sum of a R)
        + capacity * mean over layers and heads of max(0, sum of R / budget - 1)

    where a is the attention that the untouched model's query pays to a token, so that sum of a R is
    what damping leaves of it. Answers to generated questions count ``answer_weight`` times. Three
    terms are TRIM-KV's (Bui et al., 2025, arXiv:2512.03324); the one of attention is ours: it tells
    each layer at once what was needed of it, and its slope does not vanish for what is forgotten.
    Without ``distillation`` and ``next_token`` nothing is propagated through the model.

    With ``budget_by=rank``, R is that of a memory which keeps exactly one of ``budgets``, drawn for
    each step (``damped.memories``), and capacity alone sees lifetimes as they are; so they say who
    goes first at any budget, not only at the one that they add up to.
    """

    # Text: see reference.corpus.documents; shares of the sources, none: equal; documents left out.
    sources: list[str] = field(default_factory=lambda: ["docstrings"])
    shares: list[float] = field(default_factory=list)
    held_out: list[str] = field(default_factory=list)
    characters: int = 60_000  # of each document, at most
    # Kinds of samples (reference.samples, reference.pairs), as shares; the rest is plain text.
    needle: float = 0.25
    keyless: float = 0.05
    pairs: float = 0.3
    dense: float = 0.05
    chain: float = 0.1

    hidden: int = 32  # units of the gates' hidden layer; 0: linear gates
    scope: Scope = Scope.layer
    reads: str = "inputs"  # inputs or keys
    lifetime: float = 1e4  # tokens, of every token before training: nothing is forgotten

    # What the memory is to hold: shares (0, 1) or numbers of tokens, one drawn for each step.
    budgets: list[Any] = field(default_factory=lambda: [0.06, 0.1, 0.2, 0.3])
    budget_by: BudgetBy = BudgetBy.rank
    sharpness: float = 4.0  # of the passage from kept to gone, at the last step; 1 at the first
    every: int = 256  # tokens between two applications of retention
    capacity: float = 0.02  # weight of what exceeds the budget
    distillation: float = 1.0
    next_token: float = 0.0
    attention: float = 0.1
    answer_weight: float = 8.0
    sinks: int = 4  # first tokens, which never fade
    recent: int = 16  # newest tokens, which do not fade while they are

    steps: int = 1500
    lengths: list[int] = field(default_factory=lambda: [512, 1024, 1024])  # each as many steps
    sequences: int = 1  # a step
    graded: int = 256  # last tokens of a sequence, which carry the loss
    chunk: int = 512  # tokens of the context passed at once
    context: Context = Context.untouched
    learning_rate: float = 4e-3
    warmup: int = 30  # steps
    bfloat16: bool = True  # autocast, a third faster where the processor knows it; gates: float32
    seed: int = 0
    checkpoint_every: int = 50  # steps
    log_every: int = 10  # steps
    stop_after: int | None = None  # steps of this call; the same command goes on from there

    def __post_init__(self) -> None:
        samples = (self.needle, self.keyless, self.pairs, self.dense, self.chain)
        _require("needle, keyless, pairs, dense, chain", samples, min(samples) >= 0, ">= 0")
        _require(
            "needle + keyless + pairs + dense + chain", sum(samples), sum(samples) <= 1, "<= 1"
        )
        _require("sources", self.sources, bool(self.sources), "one source or more")
        agree = not self.shares or len(self.shares) == len(self.sources)
        _require("shares", self.shares, agree, f"one for each of {len(self.sources)} sources")
        _require("reads", self.reads, self.reads in READABLE, " or ".join(READABLE))
        _require("hidden", self.hidden, self.hidden >= 0, ">= 0")
        _require("lifetime", self.lifetime, 1 < self.lifetime < math.inf, "> 1")
        _require("budgets", self.budgets, bool(self.budgets), "one budget or more")
        for budget in self.budgets:
            whole = isinstance(budget, int) and not isinstance(budget, bool)
            fine = (isinstance(budget, float) and 0 < budget < 1) or (whole and budget >= 1)
            _require("budgets", self.budgets, fine, "shares in (0, 1) or numbers of tokens >= 1")
        _require("sharpness", self.sharpness, self.sharpness >= 1, ">= 1")
        weights = ("capacity", "distillation", "next_token", "attention", "answer_weight")
        for name in (*weights, "sinks", "recent"):
            _require(name, getattr(self, name), getattr(self, name) >= 0, ">= 0")
        for name in ("characters", "steps", "sequences", "graded", "chunk", "every", "warmup"):
            _require(name, getattr(self, name), getattr(self, name) >= 1, ">= 1")
        for name in ("checkpoint_every", "log_every"):
            _require(name, getattr(self, name), getattr(self, name) >= 1, ">= 1")
        longer = bool(self.lengths) and min(self.lengths) > self.graded
        _require("lengths", self.lengths, longer, f"longer than graded={self.graded}")
        _require("learning_rate", self.learning_rate, self.learning_rate > 0, "> 0")

    @property
    def local(self) -> bool:
        """Whether each layer learns from its own attention alone."""
        return not (self.distillation or self.next_token)

    def budget_at(self, step: int) -> float | int:
        """The budget of a step: a function of seed and step alone."""
        return random.Random(f"{self.seed}/{step}").choice(self.budgets)

    def sharpness_at(self, step: int) -> float:
        """The power of a step, which grows linearly."""
        return 1 + (self.sharpness - 1) * step / self.steps

    def length_at(self, step: int) -> int:
        """Tokens of the sequences of a step: shorter ones first."""
        return self.lengths[min(step * len(self.lengths) // self.steps, len(self.lengths) - 1)]


def _require(name: str, value: object, fine: bool, allowed: str) -> None:
    if not fine:
        raise ValueError(f"task.{name}={value} is not allowed, it must be {allowed}")
