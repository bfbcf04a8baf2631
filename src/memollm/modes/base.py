"""A mode: what forgetting does to attention.

A mode is a pure function of retention and the forgotten set. The adapter carries out the
``Treatment`` it returns and knows no mode by name.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Bool, Float
from torch import Tensor

from memollm.memory.ebbinghaus import Memory


@dataclass(frozen=True)
class Treatment:
    """How a query sees each cached token; what is None leaves all tokens as they are.

    Per token: its key and its value are multiplied, a bias is added to its logit, and what is
    not kept is not seen at all.
    """

    key_scale: Float[Tensor, "batch pairs"] | None = None
    value_scale: Float[Tensor, "batch pairs"] | None = None
    bias: Float[Tensor, "batch pairs"] | None = None
    keep: Bool[Tensor, "batch pairs"] | None = None


@dataclass
class Mode(abc.ABC):
    """What becomes of tokens as they are forgotten."""

    has_memory: ClassVar[bool] = True  # False: the untouched model, no memory code runs
    graded: ClassVar[bool] = True  # whether ``treat`` reads retention, or the forgotten set alone
    forgets: ClassVar[bool] = True  # False: no token is ever forgotten
    reads_memory: ClassVar[bool] = True  # False: the memory's settings decide nothing
    apart: ClassVar[bool] = False  # True: acts in a process of its own, and cannot be attached

    @property
    def evicts(self) -> bool:
        """Whether the keys and values of tokens that are not kept are freed."""
        return False

    @property
    def compounds(self) -> bool:
        """Whether each application of a treatment adds to the last one, instead of replacing it."""
        return False

    def check(self, memory: Memory) -> None:  # noqa: B027 - most modes can honour any memory
        """Refuse a memory whose settings would change nothing in this mode."""

    @abc.abstractmethod
    def treat(
        self, retention: Float[Tensor, "batch pairs"] | None, forgotten: Bool[Tensor, "batch pairs"]
    ) -> Treatment:
        """How the next queries see the tokens.

        Args:
            retention: R of each token, 1 where it is protected; None for a mode that is not
                graded.
            forgotten: tokens that are forgotten for good.
        """
