"""What an evaluation is, what it is given and what it returns.

An evaluation is a pure function of a subject. It sees neither config, tracker nor disk: it
yields one sample after another, plain data, and turns samples into metrics. Whoever runs it
writes the samples down as they come, so that a killed run goes on from the sample it had
reached.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeAlias, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# One measured example as plain data (json). "id" (str) names it within its evaluation, the same
# in every run; "memory", where there is one, is a MemoryUse as a dict.
Sample: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Metric:
    """A number that its reader can defend: unit, direction, how many examples, how sure."""

    value: float
    unit: str
    higher_is_better: bool | None  # None: neither, a description
    n: int  # examples behind the value
    stderr: float | None = None  # standard error of the value; None where it has none

    @classmethod
    def mean(cls, values: Sequence[float], unit: str, higher_is_better: bool | None) -> Metric:
        """The mean of independent values, with its standard error.

        >>> Metric.mean([0.0, 1.0, 1.0, 0.0], "share", True)
        Metric(value=0.5, unit='share', higher_is_better=True, n=4, stderr=0.28867513459481287)
        """
        n = len(values)
        if n == 0:
            raise ValueError("the mean of no values is not a number")
        centre = math.fsum(values) / n
        if n == 1:
            return cls(centre, unit, higher_is_better, 1)
        variance = math.fsum((value - centre) ** 2 for value in values) / (n - 1)
        return cls(centre, unit, higher_is_better, n, math.sqrt(variance / n))


@dataclass(frozen=True)
class MemoryUse:
    """What a cache holds after some tokens, and what an ordinary one would hold."""

    kept_tokens: list[float]  # tokens still visible, per layer of the model; mean over rows
    seen_tokens: int  # tokens of the longest row, pads not counted
    kv_bytes: int  # keys, values and the memory's own state, as allocated for tokens held
    kv_bytes_baseline: int  # keys and values of all tokens seen, in the untouched model
    kept_share: float | None = None  # of the tokens seen, mean over memory layers; None: has none
    thresholds: list[float] | None = None  # per memory layer, solved for or given; None: a budget


@runtime_checkable
class Tokenizer(Protocol):
    """The part of a Hugging Face tokenizer that evaluations use."""

    def encode(self, text: str, *, add_special_tokens: bool = ...) -> list[int]: ...

    def decode(self, ids: list[int], *, skip_special_tokens: bool = ...) -> str: ...


@runtime_checkable
class Session(Protocol):
    """One fresh cache: tokens go in, logits come out, what was forgotten stays forgotten."""

    def forward(
        self,
        ids: Int[Tensor, "batch queries"],
        mask: Bool[Tensor, "batch queries"] | None = None,
        last_only: bool = False,
    ) -> Float[Tensor, "batch _ vocabulary"]:
        """Feed tokens; logits of each of them, or with ``last_only`` of the last alone.

        ``mask`` is False on padding (on the left). Retention is applied after every
        ``prefill_chunk`` tokens and at the end of the call.
        """
        ...

    def memory_use(self) -> MemoryUse: ...

    def forgotten(self, positions: Sequence[int]) -> list[list[int | None]]:
        """Per memory layer, how many tokens had been seen when each token was forgotten.

        None: it is kept. Positions count the tokens of the first row, without pads. A subject
        without memory has no memory layers.

        Raises:
            RuntimeError: if the session was opened without a ledger.
        """
        ...


@runtime_checkable
class Subject(Protocol):
    """A model, with a memory or without one, as an evaluation sees it."""

    name: str
    max_length: int  # tokens, the longest context the model takes
    prefill_chunk: int  # tokens between two applications of retention
    has_memory: bool  # False for a baseline

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights that a decoded token has to read."""
        ...

    def session(
        self, earlier: Session | None = None, ledger: bool = False
    ) -> AbstractContextManager[Session]:
        """A fresh cache, or the one of an ``earlier`` session; the memory is attached while open.

        Sessions of one model are open one at a time. Those that take turns are closed and opened
        again: nothing that a cache holds is lost. With a ``ledger`` a fresh cache notes when it
        forgets what, for ``Session.forgotten``.
        """
        ...

    def untouched(self) -> Subject:
        """The same model with no memory: the baseline to pair with."""
        ...


@dataclass
class Evaluation(abc.ABC):
    """One kind of measurement: its fields are its configuration."""

    # What of a sample is compared with the baseline's: "correct" (right or wrong), "score" (in
    # [0, 1]) or "nll" (nats, over "tokens" of them). None: samples are not paired.
    outcome: ClassVar[str | None] = None
    # Whether it times something: then nothing else may run on its device meanwhile.
    timed: ClassVar[bool] = False
    # Its own settings to turn, where its first samples tell less than a few of all: limit= is
    # refused, and names them.
    instead_of_limit: ClassVar[str] = ""
    # What debug=true sets, where nothing else was asked for.
    brief: ClassVar[Mapping[str, Any]] = {}

    def prepare(self) -> None:  # noqa: B027 - most evaluations have nothing to look for
        """Refuse missing or unreadable data; called before any model is loaded."""

    def fits(self, model: str, limit: int) -> None:  # noqa: B027
        """Refuse sequences longer than the ``limit`` of ``model``; called before it is loaded."""

    def check(self, subject: Subject) -> None:  # noqa: B027
        """Refuse settings that this subject cannot honour."""

    def fingerprint(self) -> str:
        """What decides the result beside the fields: a hash of the data, after ``prepare``."""
        return ""

    @abc.abstractmethod
    def size(self, subject: Subject) -> int:
        """How many samples there will be, for progress bars."""

    def prompts(self, subject: Subject) -> int:
        """How many of the samples are independent: answers to one prompt are not."""
        return self.size(subject)

    @abc.abstractmethod
    def samples(self, subject: Subject, done: Collection[str] = ()) -> Iterator[Sample]:
        """Measure one example after another, skipping the ids in ``done``."""

    @abc.abstractmethod
    def metrics(self, samples: Sequence[Sample]) -> dict[str, Metric]:
        """What all the samples say; the order of ``samples`` does not matter."""
