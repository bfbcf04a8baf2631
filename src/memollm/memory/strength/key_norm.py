"""Strength from key norms: tokens with small keys fade slowly. Nothing is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from memollm.memory.strength.base import Reads, Source, Strength
from memollm.memory.strength.scaling import require_power
from memollm.registry import register


@register("strength", "key_norm")
@dataclass
class KeyNorm(Strength):
    """S = memory_strength * |k| ** -power, where |k| is the root mean square of a key's entries.

    That keys of a small norm are those attended to is the observation behind Knorm (Devoto et al.,
    2024, arXiv:2406.11430). The mean over key-value heads is taken where a layer's heads forget
    together. A budget ranks by age / S, so that there ``memory_strength`` has no effect, and
    ``power`` weighs norms against age.
    """

    reads: ClassVar[Reads] = Reads.keys

    power: float = 4.0  # > 0
    rehearsed: bool = False  # whether attention strengthens tokens further

    def __post_init__(self) -> None:
        require_power(self.power)

    @property
    def rehearses(self) -> bool:
        return self.rehearsed

    def sources(self, layers: Sequence[int], unit: float, time_step: float) -> list[Source | None]:
        return [KeyNormSource(unit, self.power) for _ in layers]


@dataclass(frozen=True)
class KeyNormSource:
    """Strengths of one layer by key norms."""

    unit: float
    power: float

    def __call__(
        self, keys: Float[Tensor, "rows heads new dim"], inputs: Tensor | None
    ) -> Float[Tensor, "rows new"]:
        precise = torch.promote_types(keys.dtype, torch.float32)
        norm = torch.linalg.vector_norm(keys, dim=-1, dtype=precise) / keys.shape[-1] ** 0.5
        return self.unit * norm.mean(dim=1).clamp(min=torch.finfo(precise).tiny) ** -self.power
