"""Schedules: how a threshold moves while a sequence grows.

A memory layer's ``threshold`` is what a schedule starts from. Time is counted in tokens seen,
prompt and answer alike: what is forgotten may not depend on which tokens were fed one by one.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from memollm.memory.retention import RetentionCurve
from memollm.memory.tokens import Tokens
from memollm.registry import register

AHEAD = 64.0  # tokens for which a ramp's highest threshold is looked up beforehand


@dataclass
class Schedule(abc.ABC):
    """What becomes of a layer's threshold as tokens come in."""

    moves: ClassVar[bool] = True

    def rows(self, first: float) -> Mapping[str, float]:
        """Numbers that it carries for each row, and what they are in an empty cache."""
        return {}

    @abc.abstractmethod
    def threshold(self, first: float, tokens: Tokens) -> float | Float[Tensor, "batch 1"]:
        """The threshold that holds now, for all rows or for each.

        Args:
            first: the layer's threshold.
            tokens: what the layer holds; ``rows`` among it.
        """

    def settle(  # noqa: B027 - most schedules do not look at what is kept
        self,
        retention: Float[Tensor, "batch pairs"],
        spent: Float[Tensor, "batch pairs"],
        tokens: Tokens,
        curve: RetentionCurve,
    ) -> None:
        """See what the threshold that holds leaves, and move: called once after each chunk.

        Args:
            retention: R of each slot.
            spent: its age in units of its strength.
            tokens: the slots, before anything is forgotten; ``rows`` may be written.
            curve: what makes retentions of ages.
        """

    @abc.abstractmethod
    def highest(self, first: float, tokens: Tokens) -> tuple[float, float]:
        """A threshold that no row exceeds before so many more tokens, and how many they are."""

    @abc.abstractmethod
    def ceiling(self, first: float) -> float:
        """A threshold that no row ever exceeds."""

    def check(self, first: float) -> None:  # noqa: B027 - most can start from anything
        """Refuse what cannot be started from."""


@register("schedule", "constant")
@dataclass
class Constant(Schedule):
    """The threshold stays as it is."""

    moves: ClassVar[bool] = False

    def threshold(self, first: float, tokens: Tokens) -> float:
        return first

    def highest(self, first: float, tokens: Tokens) -> tuple[float, float]:
        return first, math.inf

    def ceiling(self, first: float) -> float:
        return first


@dataclass
class Ramp(Schedule):
    """From the layer's threshold to ``last``, between two lengths of the sequence."""

    last: float = 0.1  # threshold at the end; in [0, 1)
    start: int = 0  # tokens seen at which it begins to move; >= 0
    over: int = 2048  # tokens for which it moves; >= 1

    def __post_init__(self) -> None:
        if not 0 <= self.last < 1:
            raise ValueError(f"schedule.last={self.last} is not allowed, it must lie in [0, 1)")
        for name, least in (("start", 0), ("over", 1)):
            if getattr(self, name) < least:
                raise ValueError(
                    f"schedule.{name}={getattr(self, name)} is not allowed, it must be >= {least}"
                )

    @abc.abstractmethod
    def way(self, progress: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """Share of the way that lies behind after a share of the tokens, both from 0 to 1."""

    def threshold(self, first: float, tokens: Tokens) -> Float[Tensor, "batch 1"]:
        return self._at(first, tokens, 0.0)[:, None]

    def highest(self, first: float, tokens: Tokens) -> tuple[float, float]:
        ends = [self._at(first, tokens, ahead).max() for ahead in (0.0, AHEAD)]
        return float(torch.stack(ends).max()), AHEAD

    def ceiling(self, first: float) -> float:
        return max(first, self.last)

    def _at(self, first: float, tokens: Tokens, ahead: float) -> Float[Tensor, " batch"]:
        progress = (tokens.seen.double() + ahead - self.start) / self.over
        return first + (self.last - first) * self.way(progress.clamp(0.0, 1.0))


@register("schedule", "linear")
@dataclass
class Linear(Ramp):
    """Each token moves the threshold by as much."""

    def way(self, progress: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        return progress


@register("schedule", "cosine")
@dataclass
class Cosine(Ramp):
    """Slowly at both ends: half a period of a cosine."""

    def way(self, progress: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        return (1 - torch.cos(math.pi * progress)) / 2
