"""Numbers that look random and are a pure function of positions: no generator, no state."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

PRIME = 2**31 - 1
FACTOR = 48271  # a primitive root modulo PRIME (Park & Miller, 1993)


def mixed(*parts: Tensor | int) -> Int[Tensor, "*_"]:
    """Integers in [0, PRIME), one for each combination of ``parts`` that broadcast together.

    Each part is scaled and raised to the fifth power modulo the prime, which is a permutation
    (5 does not divide PRIME - 1) and far from linear. No product exceeds 62 bits, so that every
    device agrees.

    >>> mixed(7, torch.tensor([1, 2, 3])) % 10
    tensor([3, 4, 1])
    """
    state: Tensor = torch.zeros((), dtype=torch.long)
    for part in parts:
        part = torch.as_tensor(part, dtype=torch.long) % PRIME
        state = state.to(part.device) if part.dim() else state
        for _ in range(2):
            state = (state + part.to(state.device) + 1) * FACTOR % PRIME
            square = state * state % PRIME
            state = square * square % PRIME * state % PRIME
    return state


def drawn_blocks(
    own: Int[Tensor, "*rows queries"], draws: int, seed: int
) -> Int[Tensor, "*rows queries draws"]:
    """For the block of each query ``draws`` blocks up to it, drawn with replacement."""
    numbers = torch.arange(draws, device=own.device)
    return mixed(seed, own[..., None], numbers) % (own[..., None] + 1)
