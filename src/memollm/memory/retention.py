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
from typing import ClassVar, TypeAlias

import torch
from jaxtyping import Float, Real
from torch import Tensor

from memollm.registry import register

Age: TypeAlias = Real[Tensor, "*#pairs"]  # t, time since insertion or the last recall; >= 0
Strength: TypeAlias = Float[Tensor, "*#pairs"]  # S, time: the scale of fading; > 0
# R, the fraction remembered, in [0, 1]; in the precision of the strength, never below float32:
# bfloat16 keeps 8 significant bits, so that ages above 256 steps would run together.
Retention: TypeAlias = Float[Tensor, "*pairs"]


@dataclass
class RetentionCurve(abc.ABC):
    """A forgetting curve R(t, S) of t / S: highest at t = 0, falling with t, rising with S."""

    gradual: ClassVar[bool] = True  # False: R takes two values, so that no threshold is a lifetime
    by_recall: ClassVar[bool] = False  # True: strength grows by each recall, not with attention

    @abc.abstractmethod
    def retention(self, age: Age, strength: Strength) -> Retention:
        """Fraction of each pair remembered."""

    @abc.abstractmethod
    def lifetime(self, threshold: float) -> float:
        """Age at which retention has fallen to ``threshold``, in units of the strength.

        A pair of strength S is remembered above ``threshold`` until it is
        ``lifetime(threshold) * S`` old; 0 where it never is.
        """


@register("retention", "exponential")
@dataclass
class ExponentialRetention(RetentionCurve):
    """R = exp(-t / S): a pair loses the same share in every step; 1/e is left at t = S.

    The curve of MemoryBank (Zhong et al., 2023, arXiv:2305.10250); all of its rule is
    ``memory_bank``. It bears Ebbinghaus's name by custom: he fitted a power function (1880), then
    a logarithmic one (1885); see Murre & Dros (2015), doi:10.1371/journal.pone.0120644.

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


@register("retention", "wickelgren")
@dataclass
class WickelgrenRetention(RetentionCurve):
    """R = initial * (1 + rate * t / S) ** -decay: the power law with a scale of its own.

    Wickelgren's law of long-term memory, m = lambda (1 + beta t) ** -psi (1974, Memory & Cognition
    2(4), 775-780), with time in units of the strength. Below 1, ``initial`` is what is left right
    after learning; a threshold above it forgets every token that is not protected.

    >>> curve = WickelgrenRetention(initial=0.8, rate=3.0, decay=1.0)
    >>> curve.retention(torch.tensor([0.0, 5.0]), torch.tensor(5.0))
    tensor([0.8000, 0.2000])
    """

    initial: float = 1.0  # lambda, retention at age 0; in (0, 1]
    rate: float = 1.0  # beta, how soon fading sets in; > 0
    decay: float = 0.5  # psi, exponent; > 0, larger forgets faster

    def __post_init__(self) -> None:
        if not 0 < self.initial <= 1:
            raise ValueError(
                f"retention.initial={self.initial} is not allowed, it must lie in (0, 1]"
            )
        for name in ("rate", "decay"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise ValueError(f"retention.{name}={value} is not allowed, it must be > 0")

    def retention(self, age: Age, strength: Strength) -> Retention:
        return self.initial * (1 + self.rate * age / _wide(strength)) ** -self.decay

    def lifetime(self, threshold: float) -> float:
        left = require_fraction("threshold", threshold) / self.initial
        return max(left ** (-1 / self.decay) - 1, 0.0) / self.rate


@register("retention", "memory_bank")
@dataclass
class MemoryBankRetention(ExponentialRetention):
    """R = exp(-t / S), where recalls alone strengthen: each adds one unit and restarts the clock.

    MemoryBank (Zhong et al., 2023, arXiv:2305.10250): S begins at 1 and grows by 1 whenever the
    item is recalled. Here it begins at ``memory_strength`` and grows by ``memory.reinforcement``,
    and a recall is a query that gives the token at least ``memory.recall_threshold`` of its
    attention; how much more than that does not count.
    """

    by_recall: ClassVar[bool] = True


@register("retention", "constant_window")
@dataclass
class ConstantWindowRetention(RetentionCurve):
    """R = 1 up to the age S, then 0: all or nothing, a window of ``S / time_step`` tokens.

    Under any threshold in (0, 1) a token is kept until it has not been recalled for that long:
    without rehearsal a sliding window, with recalls a cache that forgets the least recently used.

    >>> ConstantWindowRetention().retention(torch.tensor([5.0, 5.1]), torch.tensor(5.0))
    tensor([1., 0.])
    """

    gradual: ClassVar[bool] = False

    def retention(self, age: Age, strength: Strength) -> Retention:
        wide = _wide(strength)
        return (age <= wide).to(wide.dtype)

    def lifetime(self, threshold: float) -> float:
        require_fraction("threshold", threshold)
        return 1.0


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
