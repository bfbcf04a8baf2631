"""Strength at birth: how slowly each token will fade, said when it is cached.

The forgetting curve R = exp(-t / S) needs an S for each token. Attention can raise it afterwards
(rehearsal), but past attention cannot know what will be asked for; what a token *is* can tell. A
part of this room says what S a token is given on insertion, and whether rehearsal changes it.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

OF_REHEARSAL = frozenset({"reinforcement", "recall_threshold", "prefill_reinforcement"})


class Reads(StrEnum):
    """What has to be known of a new token before its strength is."""

    nothing = "nothing"
    keys = "keys"  # as they lie in the cache, rotation and all
    inputs = "inputs"  # hidden states that its attention layer is given
    surprisal = "surprisal"  # under the model itself: known once the forward pass is over


@runtime_checkable
@runtime_checkable
class Source(Protocol):
    """Who gives the tokens of one layer their strength."""

    def __call__(
        self,
        keys: Float[Tensor, "rows heads new dim"],
        inputs: Float[Tensor, "batch new width"] | None,
    ) -> Float[Tensor, "rows new"]:
        """S of new tokens, in units of time, > 0.

        Args:
            keys: of the new tokens. A row is a sequence, or one of its key-value heads where each
                head has a memory of its own (heads of a sequence follow one another).
            inputs: what the layer's attention was given; None unless that is what is read.
        """
        ...


@dataclass
class Strength(abc.ABC):
    """What strength a token begins with."""

    reads: ClassVar[Reads]

    @property
    @abc.abstractmethod
    def rehearses(self) -> bool:
        """Whether attention strengthens tokens and restarts their clocks."""

    @property
    def ignored(self) -> frozenset[str]:
        """Fields of the memory that no result depends on."""
        return frozenset() if self.rehearses else OF_REHEARSAL

    def prepare(self) -> None:  # noqa: B027 - most strengths need nothing
        """Refuse what is not there, before anything is loaded.

        Raises:
            ValueError: naming the key and what is allowed.
        """

    def sources(self, layers: Sequence[int], unit: float, time_step: float) -> list[Source | None]:
        """For each of the model's ``layers`` that have memory, who gives strengths on insertion.

        Args:
            layers: their indices in the model.
            unit: the memory's ``strength``.
            time_step: time that passes with each token.

        Returns:
            None where every token is given ``unit``.
        """
        return [None] * len(layers)
