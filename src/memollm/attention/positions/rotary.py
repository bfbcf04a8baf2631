"""Rotary position embedding."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from memollm.attention.positions.base import Heads, KeyHeads, PositionEncoding, Positions
from memollm.registry import register


@register("position_encoding", "rope")
@dataclass
class Rotary(PositionEncoding):
    """Turn the plane (x_i, x_{i + d/2}) by position * base^(-2 i / d).

    Lengths stay, and q . k depends on positions by their difference alone. Su et al., 2021,
    arXiv:2104.09864, equation 34, in the order of halves that Llama's weights have.
    """

    base: float = 10000.0  # > 0; the longest wave is 2 pi base tokens

    def __post_init__(self) -> None:
        if not self.base > 0:
            raise ValueError(f"base must be > 0, got {self.base}")

    def require(self, head_dim: int, causal: bool) -> None:
        if head_dim % 2:
            raise ValueError(
                f"rope turns pairs of dimensions: head_dim must be even, got {head_dim}"
            )

    def turned(
        self, queries: Heads, keys: KeyHeads, positions: Positions
    ) -> tuple[Heads, KeyHeads]:
        cos, sin = waves(positions, queries.shape[-1], self.base)
        return turn(queries, cos, sin), turn(keys, cos, sin)

    def slopes(self, heads: int) -> Float[Tensor, " heads"] | None:
        return None


def waves(
    positions: Positions, dim: int, base: float
) -> tuple[Float[Tensor, "rows 1 tokens half"], Float[Tensor, "rows 1 tokens half"]]:
    """Cosines and sines, in float32: in half precision far positions would run together."""
    speed = base ** -(torch.arange(0, dim, 2, device=positions.device).double() / dim)
    angle = positions.unsqueeze(1).unsqueeze(-1).double() * speed
    return angle.cos().float(), angle.sin().float()


def turn(vectors: KeyHeads, cos: Tensor, sin: Tensor) -> KeyHeads:
    """Each plane turned, in the vectors' own precision at the end."""
    dtype = torch.promote_types(vectors.dtype, torch.float32)
    left, right = vectors.to(dtype).chunk(2, dim=-1)
    turned = torch.cat([left * cos - right * sin, right * cos + left * sin], dim=-1)
    return turned.to(vectors.dtype)
