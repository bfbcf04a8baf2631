"""Retention: how much of a cached key-value pair is left, by its age and memory strength.

A retention curve is a pure function R(t, S). It knows nothing of caches, layers or models:
who ages, who is rehearsed and what becomes of the forgotten is decided elsewhere
(``rehearsal``, ``forgetting``, ``modes``).

Ages and strengths share one unit, time; ``time_step`` turns tokens into it. Values inside
tensors are not checked, since a check would stall a GPU once a step; scalars are, where they
enter.
"""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float, Real
from torch import Tensor

from memollm.registry import register

Age: TypeAlias = Real[Tensor, "*#pairs"]  # t, time since insertion or the last recall; >= 0
Strength: TypeAlias = Float[Tensor, "*#pairs"]  # S, time: the scale of fading; > 0
# R, the fraction remembered, in (0, 1]; in the precision of the strength, never below float32:
# bfloat16 keeps 8 significant bits, so that ages above 256 steps would run together.
Retention: TypeAlias = Float[Tensor, "*pairs"]


@dataclass
class RetentionCurve(abc.ABC):
    """A forgetting curve R(t, S): 1 at t = 0, falling with t, rising with S."""

    @abc.abstractmethod
    def retention(self, age: Age, strength: Strength) -> Retention:
        """Fraction of each pair remembered."""

    @abc.abstractmethod
    def lifetime(self, threshold: float) -> float:
        """Age at which retention has fallen to ``threshold``, in units of the strength.

        A pair of strength S is remembered above ``threshold`` until it is
        ``lifetime(threshold) * S`` old.
        """


@register("retention", "exponential")
@dataclass
class ExponentialRetention(RetentionCurve):
    """R = exp(-t / S): a pair loses the same share in every step; 1/e is left at t = S.

    The curve of MemoryBank (Zhong et al., 2023, arXiv:2305.10250). It bears Ebbinghaus's
    name by custom: he fitted a power function (1880), then a logarithmic one (1885); see
    Murre & Dros (2015), doi:10.1371/journal.pone.0120644.

    >>> ExponentialRetention().retention(torch.tensor([0.0, 5.0, 10.0]), torch.tensor(5.0))
    tensor([1.0000, 0.3679, 0.1353])
    """

    def retention(self, age: Age, strength: Strength) -> Retention:
        return torch.exp(-age / _wide(strength))

    def lifetime(self, threshold: float) -> float:
        return -math.log(require_fraction("threshold", threshold))


@register("retention", "power_law")
@dataclass
class PowerLawRetention(RetentionCurve):
    """R = (1 + t / S) ** -decay: fading slows with age, and old pairs leave a long tail.

    Power functions fit human forgetting better than exponentials do (Wixted & Ebbesen,
    1991, Psychological Science 2(6), 409-415).

    >>> PowerLawRetention(decay=1.0).retention(torch.tensor([0.0, 5.0]), torch.tensor(5.0))
    tensor([1.0000, 0.5000])
    """

    decay: float = 0.5  # exponent, > 0; larger forgets faster

    def __post_init__(self) -> None:
        if not self.decay > 0:
            raise ValueError(f"retention.decay={self.decay} is not allowed, it must be > 0")

    def retention(self, age: Age, strength: Strength) -> Retention:
        return (1 + age / _wide(strength)) ** -self.decay

    def lifetime(self, threshold: float) -> float:
        return require_fraction("threshold", threshold) ** (-1 / self.decay) - 1


def require_fraction(name: str, value: float) -> float:
    """``value``, if it lies strictly between 0 and 1.

    Raises:
        ValueError: if it does not (or is nan).
    """
    if not 0 < value < 1:
        raise ValueError(f"{name}={value} is not allowed, it must lie strictly between 0 and 1")
    return value


def _wide(strength: Strength) -> Strength:
    return strength if strength.dtype in (torch.float32, torch.float64) else strength.float()
