"""Forgetting: which tokens are given up, by retention, protection and budget."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Position = Int[Tensor, "batch pairs"]  # of each token in its own sequence, pads not counted


def protected(
    position: Position, seen: Int[Tensor, " batch"], sinks: int, recent: int
) -> Bool[Tensor, "batch pairs"]:
    """Tokens that are never forgotten: the first ``sinks`` and the newest ``recent``.

    >>> protected(torch.arange(6)[None], torch.tensor([6]), sinks=1, recent=2).int()
    tensor([[1, 0, 0, 0, 1, 1]], dtype=torch.int32)
    """
    return (position < sinks) | (position >= (seen - recent)[:, None])


def faded(
    retention: Float[Tensor, "batch pairs"],
    threshold: float | Float[Tensor, "batch 1"],
    spared: Bool[Tensor, "batch pairs"],
) -> Bool[Tensor, "batch pairs"]:
    """Tokens whose retention lies below the threshold, but for those that are spared."""
    return (retention < threshold) & ~spared


def over_budget(
    retention: Float[Tensor, "batch pairs"],
    position: Position,
    present: Bool[Tensor, "batch pairs"],
    spared: Bool[Tensor, "batch pairs"],
    keep: Int[Tensor, " batch"],
) -> Bool[Tensor, "batch pairs"]:
    """Tokens to forget so that ``keep`` of those present remain: the lowest retention first.

    Ties fall on the oldest token, by position, never by a sort's whim. Spared tokens stay even
    where they alone exceed the budget.

    >>> over_budget(torch.tensor([[0.5, 0.1, 0.1, 0.9]]), torch.arange(4)[None],
    ...             torch.ones(1, 4).bool(), torch.zeros(1, 4).bool(), torch.tensor([3])).int()
    tensor([[0, 1, 0, 0]], dtype=torch.int32)
    """
    candidates = present & ~spared
    excess = (present.sum(dim=1) - keep).clamp(min=0)
    most = int(excess.max()) if excess.numel() else 0
    if most == 0:
        return torch.zeros_like(present)
    if most == 1:  # decoding: the same without sorting
        return _lowest_one(retention, position, candidates) & (excess > 0)[:, None]
    oldest_first = position.argsort(dim=1, stable=True)
    ranked = torch.where(candidates, retention, torch.inf).gather(1, oldest_first)
    order = oldest_first.gather(1, ranked.argsort(dim=1, stable=True))
    rank = torch.empty_like(order)
    places = torch.arange(order.shape[1], device=order.device).expand_as(order)
    rank.scatter_(1, order, places)
    return candidates & (rank < excess[:, None])


def _lowest_one(
    retention: Float[Tensor, "batch pairs"], position: Position, candidates: Bool[Tensor, ...]
) -> Bool[Tensor, "batch pairs"]:
    """The candidate of each row with the lowest retention, the oldest of them; none if none is."""
    ranked = torch.where(candidates, retention, torch.inf)
    tied = candidates & (ranked == ranked.amin(dim=1, keepdim=True))
    last = torch.iinfo(position.dtype).max
    first = torch.where(tied, position, last).argmin(dim=1, keepdim=True)
    return tied & torch.zeros_like(tied).scatter_(1, first, True)


def over_shared_budget(
    retention: Float[Tensor, "rows pairs"],
    position: Int[Tensor, "rows pairs"],
    present: Bool[Tensor, "rows pairs"],
    spared: Bool[Tensor, "rows pairs"],
    keep: Int[Tensor, " rows"],
    heads: int,
    floor: float,
) -> Bool[Tensor, "rows pairs"]:
    """Tokens to forget so that the ``heads`` rows of each sequence together keep the sum of theirs.

    The lowest retention over all heads goes first, whosever it is, but each head's best tokens stay
    up to a ``floor``, a share of its own ``keep`` (Ada-KV, Feng et al., 2024, arXiv:2407.11550).
    Ties fall on the oldest token, of the first head that holds it.

    >>> over_shared_budget(torch.tensor([[0.9, 0.8], [0.1, 0.2]]), torch.arange(2).expand(2, 2),
    ...                    torch.ones(2, 2).bool(), torch.zeros(2, 2).bool(), torch.tensor([1, 1]),
    ...                    heads=2, floor=0.0).int()
    tensor([[0, 0],
            [1, 1]], dtype=torch.int32)
    """
    least = (keep.double() * floor).floor().to(keep.dtype)
    best = ~over_budget(retention, position, present, spared, least)
    sequences = len(keep) // heads
    dying = over_budget(
        retention.reshape(sequences, -1), position.reshape(sequences, -1),
        present.reshape(sequences, -1), (spared | best).reshape(sequences, -1),
        keep.view(sequences, heads).sum(dim=1),
    )  # fmt: skip
    return dying.view_as(present)
