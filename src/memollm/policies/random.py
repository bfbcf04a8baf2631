"""Random: what a budget costs when nothing is known of the tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from memollm.memory.tokens import Tokens
from memollm.policies.base import Ranking
from memollm.registry import register

BITS = 31  # of the hash; its products stay below 2^62, exact in int64 on every device
MASK = (1 << BITS) - 1
HEAD = 16  # bits below a head's number, for the layer's
FACTORS = 0x7FEB352D, 0x046CA68B  # odd, so that multiplying loses nothing (mod 2^31)


@register("policy", "random")
@dataclass
class Random(Ranking):
    """A number for each token, drawn from ``seed``, its layer, its head and its position.

    It is hashed, not drawn from a generator, so that it is the same in any chunking, batch or
    device. The tokens of a row are ranked once and for all: who falls out never comes back in.
    """

    seed: int = 0  # >= 0

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"policy.seed={self.seed} is not allowed, it must be >= 0")

    def priority(self, tokens: Tokens, keep: Int[Tensor, " batch"]) -> Float[Tensor, "batch pairs"]:
        device = tokens.position.device
        head = torch.arange(len(tokens.position), device=device) % tokens.heads
        source = _mix(torch.tensor(self.seed & MASK, device=device))
        stream = _mix(source ^ (tokens.layer + (head << HEAD)))[:, None]
        return _mix(stream ^ tokens.position.long().clamp(min=0)).double()


def _mix(value: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
    """Scatter 31 bits over 31 bits, one to one: shifts and products by odd numbers.

    The construction of 32-bit integer hashes (C. Wellons, "Prospecting for Hash Functions", 2018).
    """
    for factor in FACTORS:
        value = ((value ^ (value >> 15)) * factor) & MASK
    return value ^ (value >> 16)
