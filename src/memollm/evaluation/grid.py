"""The grid of a needle evaluation: one prompt a cell, one sample a needle asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from memollm.evaluation.prompts import Kind


@dataclass(frozen=True)
class Cell:
    """One prompt: it asks for one needle at each of its depths."""

    kind: Kind
    length: int
    depths: tuple[float, ...]
    index: int

    @property
    def name(self) -> str:
        depths = "all" if self.kind is Kind.multi_query else f"{self.depths[0]:g}"
        return f"{self.kind}/{self.length}/{depths}/{self.index}"

    def sample(self, depth: float) -> str:
        """Id of the sample that asks for the needle at ``depth``."""
        return f"{self.kind}/{self.length}/{depth:g}/{self.index}"


def cells(
    kinds: Sequence[Kind], lengths: Sequence[int], depths: Sequence[float], samples: int
) -> Iterator[Cell]:
    """Prompts enough for so many ``samples`` of each kind, length and depth."""
    for kind in kinds:
        groups = [tuple(depths)] if kind is Kind.multi_query else [(depth,) for depth in depths]
        for length in lengths:
            for group in groups:
                for index in range(samples):
                    yield Cell(kind, length, group, index)
