"""A subject that can be looked into: what fidelity, liveness and the forgetting curve ask for."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor

from memollm.evaluation.base import Session, Subject


@dataclass
class Sight:
    """What was seen of attention in the forward passes of one block, by layer of the model."""

    session: Session
    outputs: dict[int, Float[Tensor, "batch queries heads value_dim"]] = field(default_factory=dict)
    # of layers without memory alone; the columns are the last ``pairs`` tokens
    weights: dict[int, Float[Tensor, "batch heads queries pairs"]] = field(default_factory=dict)


@runtime_checkable
class Probe(Protocol):
    """The inside of one subject."""

    @property
    def method(self) -> str:
        """What forgets, in words for error messages."""
        ...

    @property
    def evicts(self) -> bool:
        """Whether what is forgotten frees its bytes, or is only masked."""
        ...

    def twin(self) -> Subject:
        """The same machinery on the same layers, with a memory that forgets nothing."""
        ...

    def hurried(self) -> Subject:
        """The same method on the same layers, so forgetful that 128 tokens are enough to see it."""
        ...

    def watching(self, earlier: Session | None = None) -> AbstractContextManager[Sight]:
        """As ``Subject.session``; attention outputs and weights are left in the ``Sight``.

        One forward pass a block: another overwrites what the one before it left.
        """
        ...

    def windowed(self, window: int, sinks: int) -> AbstractContextManager[Session]:
        """A fresh cache of the untouched model in which only the near past is visible.

        In every attention layer each query sees the last ``window`` tokens, itself among them, and
        the first ``sinks``: exactly, in chunks of any size. A layer that keeps a recurrent state
        instead of tokens (linear attention) keeps all of it.
        """
        ...

    def visible(self, session: Session) -> dict[int, Bool[Tensor, "*kv_heads tokens"]]:
        """Which of the tokens seen so far the next query sees, by layer with a memory.

        Where key-value heads differ, for each of them.
        """
        ...

    def attenuates(self, session: Session) -> bool:
        """Whether any token of any layer counts for more or less than it would untouched."""
        ...


@runtime_checkable
class Probed(Subject, Protocol):
    """A subject with an inside."""

    def probe(self) -> Probe: ...


def probe_of(subject: Subject, key: str) -> Probe:
    """The inside of ``subject``.

    Raises:
        ValueError: if it has none that can be looked into, naming the evaluation ``key``.
    """
    if not isinstance(subject, Probed):
        raise ValueError(f"{key} is not possible with {subject.name}: it cannot be looked into")
    return subject.probe()
