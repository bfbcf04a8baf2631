"""Sparse attention: the forgotten is not seen again."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from jaxtyping import Bool, Float
from torch import Tensor

from memollm.modes.base import Mode, Treatment
from memollm.registry import register


class Storage(StrEnum):
    """Where forgotten tokens stay."""

    evict = "evict"  # nowhere: their keys and values are freed
    mask = "mask"  # in the cache, masked: the reference that eviction is tested against


@register("mode", "sparse_attention")
@dataclass
class SparseAttention(Mode):
    """Queries see only tokens that are not forgotten.

    A forgotten token gets no attention, so it is never rehearsed and never comes back: evicting
    it and masking it give the same outputs.
    """

    graded: ClassVar[bool] = False

    storage: Storage = Storage.evict

    @property
    def evicts(self) -> bool:
        return self.storage == Storage.evict

    def treat(
        self, retention: Float[Tensor, "batch pairs"] | None, forgotten: Bool[Tensor, "batch pairs"]
    ) -> Treatment:
        return Treatment(keep=~forgotten)
