"""What a training of gates is made of, as types."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

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
        + capacity * mean over layers, heads and queries of max(0, sum of R / budget - 1)

    where a is the attention that the untouched model's query pays to a token, so that sum of a R is
    what damping leaves of it. Answers to generated questions count ``answer_weight`` times. Three
    terms are TRIM-KV's (Bui et al., 2025, arXiv:2512.03324); the one of attention is ours: it tells
    each layer at once what was needed of it, and its slope does not vanish for what is forgotten.
    Without ``distillation`` and ``next_token`` nothing is propagated through the model.
    """

    # Text: see reference.corpus.documents; shares of the sources, none: equal; documents left out.
    sources: list[str] = field(default_factory=lambda: ["docstrings"])
    shares: list[float] = field(default_factory=list)
    held_out: list[str] = field(default_factory=list)
    characters: int = 60_000  # of each document, at most
    # Kinds of samples (reference.samples, reference.pairs), as shares; the rest is plain text.
    needle: float = 0.35
    keyless: float = 0.1
    pairs: float = 0.15
    dense: float = 0.05
    chain: float = 0.05

    hidden: int = 32  # units of the gates' hidden layer; 0: linear gates
    scope: Scope = Scope.layer
    reads: str = "inputs"  # inputs or keys
    lifetime: float = 1e4  # tokens, of every token before training: nothing is forgotten

    budget: Any = 0.08  # share (0, 1) or number of tokens that should fill the memory
    capacity: float = 1.0  # weight of what exceeds it
    distillation: float = 0.0
    next_token: float = 0.0
    attention: float = 1.0
    answer_weight: float = 8.0
    sinks: int = 4  # first tokens, which never fade
    recent: int = 16  # newest tokens, which do not fade while they are

    steps: int = 1400
    lengths: list[int] = field(default_factory=lambda: [1024])  # in equal numbers of steps
    sequences: int = 1  # a step
    graded: int = 256  # last tokens of a sequence, which carry the loss
    chunk: int = 512  # tokens of the context passed at once
    context: Context = Context.untouched
    learning_rate: float = 4e-3
    warmup: int = 30  # steps
    bfloat16: bool = False  # autocast; gates stay float32
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
        whole = isinstance(self.budget, int) and not isinstance(self.budget, bool)
        share = isinstance(self.budget, float) and 0 < self.budget < 1
        fine = share or (whole and self.budget >= 1)
        _require("budget", self.budget, fine, "a share in (0, 1) or a number of tokens >= 1")
        weights = ("capacity", "distillation", "next_token", "attention", "answer_weight")
        for name in (*weights, "sinks", "recent"):
            _require(name, getattr(self, name), getattr(self, name) >= 0, ">= 0")
        for name in ("characters", "steps", "sequences", "graded", "chunk", "warmup"):
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

    def length_at(self, step: int) -> int:
        """Tokens of the sequences of a step: shorter ones first."""
        return self.lengths[min(step * len(self.lengths) // self.steps, len(self.lengths) - 1)]


def _require(name: str, value: object, fine: bool, allowed: str) -> None:
    if not fine:
        raise ValueError(f"task.{name}={value} is not allowed, it must be {allowed}")
