"""Aggregation by vote: memory layers forget together what enough of them would forget."""

from __future__ import annotations

from typing import Protocol

import torch
from jaxtyping import Bool
from torch import Tensor


def agreed(ballots: list[Bool[Tensor, "batch pairs"]], share: float) -> Bool[Tensor, "batch pairs"]:
    """Tokens that at least ``share`` of the layers would forget.

    All layers hold the same tokens in the same slots, since they forget together.

    >>> yes, no = torch.tensor([[True]]), torch.tensor([[False]])
    >>> agreed([yes, no], 0.5), agreed([yes, no, no], 0.5)
    (tensor([[True]]), tensor([[False]]))
    """
    votes = torch.stack([ballot.to(ballots[0].device) for ballot in ballots]).sum(dim=0)
    return votes >= share * len(ballots)


class Member(Protocol):
    """A memory layer, as the council knows it."""

    def forget(self, tokens: Bool[Tensor, "batch pairs"]) -> None: ...


class Council:
    """The memory layers of one cache: each casts a ballot, and all obey the verdict."""

    def __init__(self, share: float) -> None:
        self.members: list[Member] = []
        self._share = share
        self._ballots: list[Tensor] = []

    def vote(self, ballot: Bool[Tensor, "batch pairs"]) -> None:
        """Cast the next layer's ballot; with the last one, every member forgets what was agreed."""
        self._ballots.append(ballot)
        if len(self._ballots) == len(self.members):
            verdict = agreed(self._ballots, self._share)
            self._ballots = []
            for member in self.members:
                member.forget(verdict)


def require_votable(chunk: int, count: int, candidates: int, padded: bool) -> None:
    """Refuse a forward pass in which layers could not vote after each chunk.

    Args:
        chunk: tokens between two votes.
        count: tokens of the pass.
        candidates: how many of them may be taken back.
        padded: whether rows differ in length.
    """
    if padded and count >= chunk > 1:
        raise ValueError(
            "memory.aggregation=vote is not supported for a padded batch whose prompt fills a "
            f"chunk ({count} tokens, prefill_chunk={chunk}): its rows would vote at other tokens "
            "than they do alone. Use batches of one length, a longer chunk, or "
            "memory.aggregation=layer"
        )
    if count - candidates > chunk or candidates:
        raise ValueError(
            "memory.aggregation=vote decides across layers, so that one forward pass can hold "
            f"one chunk only: {count} tokens were passed, memory.prefill_chunk={chunk}. Pass the "
            "prompt in chunks (generate(..., prefill_chunk_size=...)) or use "
            "memory.aggregation=layer"
        )
