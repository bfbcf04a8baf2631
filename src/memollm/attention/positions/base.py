"""What every position encoding promises."""

from __future__ import annotations

import abc
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

Heads = Float[Tensor, "batch heads tokens dim"]
KeyHeads = Float[Tensor, "batch kv_heads tokens dim"]
Positions = Int[Tensor, "rows tokens"]  # one row for all, or one for each


@dataclass
class PositionEncoding(abc.ABC):
    """How queries and keys are told where they are: by turning them, or by a bias on scores."""

    @abc.abstractmethod
    def require(self, head_dim: int, causal: bool) -> None:
        """Refuse heads or attention that the encoding is not defined for.

        Raises:
            ValueError: naming them.
        """

    @abc.abstractmethod
    def turned(
        self, queries: Heads, keys: KeyHeads, positions: Positions
    ) -> tuple[Heads, KeyHeads]:
        """Queries and keys of the same tokens, turned by their positions."""

    @abc.abstractmethod
    def slopes(self, heads: int) -> Float[Tensor, " heads"] | None:
        """By how much each head's scores fall with every token of distance; None: not at all."""
