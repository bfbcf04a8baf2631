"""Sets of positions, as patterns put together what they can reach."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

Positions = Int[Tensor, " _"]


def window(queries: Positions, width: int, step: int = 1) -> Positions:
    """What lies at most ``(width - 1) * step`` before any of ``queries``, up to the last of them.

    If all of them lie a multiple of ``step`` apart, every ``step``-th position alone.

    >>> window(torch.tensor([9, 15]), width=3, step=3)
    tensor([ 3,  6,  9, 12, 15])
    """
    first, last = int(queries.min()), int(queries.max())
    if step > 1 and bool(((queries - first) % step).any()):
        width, step = (width - 1) * step + 1, 1
    start = first - (width - 1) * step
    start = start if start >= 0 else start % step
    return torch.arange(start, last + 1, step, device=queries.device)


def blocks(numbers: Int[Tensor, " *blocks"], size: int) -> Positions:
    """The tokens of blocks of ``size``, by the blocks' numbers.

    >>> blocks(torch.tensor([0, 2]), size=2)
    tensor([0, 1, 4, 5])
    """
    return (numbers.reshape(-1, 1) * size + torch.arange(size, device=numbers.device)).flatten()


def union(queries: Positions, *parts: Positions) -> Positions:
    """All of ``parts`` that are not later than the last query, ascending and once each."""
    found = torch.unique(torch.cat(parts))
    return found[found <= queries.max()]
