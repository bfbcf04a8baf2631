"""xPos: rotary positions whose planes fade with distance."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from memollm.attention.positions.base import Heads, KeyHeads, PositionEncoding, Positions
from memollm.attention.positions.rotary import turn, waves
from memollm.registry import register

MOST = 80.0  # exponents of e that float32 can hold


@register("position_encoding", "xpos")
@dataclass
class XPos(PositionEncoding):
    """Rotary, with plane i of queries times s_i^n and of keys times s_i^-m, at positions n and m.

    s_i = ((2 i / d + smoothing) / (1 + smoothing))^(1 / scale_base), so that q . k fades with
    n - m, quick waves first; for causal attention, where n >= m. Sun et al., 2022,
    arXiv:2212.10554, algorithm 1.
    """

    base: float = 10000.0  # > 0
    scale_base: float = 512.0  # tokens, > 0
    smoothing: float = 0.4  # > 0

    def __post_init__(self) -> None:
        for name in ("base", "scale_base", "smoothing"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be > 0, got {getattr(self, name)}")

    def require(self, head_dim: int, causal: bool) -> None:
        if head_dim % 2:
            raise ValueError(
                f"xpos turns pairs of dimensions: head_dim must be even, got {head_dim}"
            )
        if not causal:
            raise ValueError("xpos grows without bound for keys after the query: it needs causal")

    def turned(
        self, queries: Heads, keys: KeyHeads, positions: Positions
    ) -> tuple[Heads, KeyHeads]:
        dim = queries.shape[-1]
        cos, sin = waves(positions, dim, self.base)
        share = torch.arange(0, dim, 2, device=positions.device).double() / dim
        rate = ((share + self.smoothing) / (1 + self.smoothing)).log() / self.scale_base
        exponent = positions.unsqueeze(1).unsqueeze(-1) * rate
        if bool((exponent.abs() > MOST).any()):
            limit = int(MOST / float(rate.abs().max()))
            raise ValueError(f"xpos reaches {limit} tokens with scale_base={self.scale_base}")
        fade = exponent.exp()
        return (
            turn(queries, (cos * fade).to(cos), (sin * fade).to(sin)),
            turn(keys, (cos / fade).to(cos), (sin / fade).to(sin)),
        )

    def slopes(self, heads: int) -> Float[Tensor, " heads"] | None:
        return None
