"""Log-likelihoods of several sequences at once, each as if it were alone.

Rows begin together and are padded on the right, so that a chunk of the batch is a chunk of every
row: retention is applied to a row after the same tokens as in a batch of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from memollm.evaluation.base import Session


@dataclass(frozen=True)
class Row:
    """Tokens to feed, and what is scored: those from ``first`` on, and each of ``ends``."""

    ids: tuple[int, ...]
    first: int  # in [1, len(ids)]; a first token has nothing to be predicted from
    ends: tuple[int, ...] = ()  # tokens that might come next, all scored after the same ``ids``

    def stem(self, chunk: int) -> tuple[int, ...]:
        """Whole chunks that nothing is scored of: rows that share them may share a session."""
        return self.ids[: (self.first - 1) // chunk * chunk]


@dataclass(frozen=True)
class Scores:
    """Log-probabilities in nats, and whether a token was the likeliest."""

    inner: Float[Tensor, " inner"]  # of ids[first:]
    inner_greedy: Bool[Tensor, " inner"]
    ends: Float[Tensor, " ends"]
    ends_greedy: Bool[Tensor, " ends"]


@torch.no_grad()
def score_rows(
    session: Session, rows: Sequence[Row], chunk: int, device: torch.device, fed: int = 0
) -> list[Scores]:
    """Stream ``rows`` through a ``session``, ``chunk`` tokens at a time.

    Logits exist for one chunk at a time, and log-probabilities only of what is scored. They are
    taken in float32, or the model's own type where that is wider.

    Args:
        session: a fresh one; or one that has seen the first ``fed`` tokens of every row.
        rows: the sequences.
        chunk: the subject's ``prefill_chunk``.
        device: where the model is.
        fed: length of a stem.
    """
    lengths = [len(row.ids) for row in rows]
    width = max(lengths)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    for index, row in enumerate(rows):
        ids[index, : len(row.ids)] = torch.tensor(row.ids)
    valid = torch.arange(width) < torch.tensor(lengths)[:, None]
    padded = min(lengths) < width
    ids, valid = ids.to(device), valid.to(device)
    found: list[list[tuple[Tensor, Tensor]]] = [[] for _ in rows]
    for start in range(fed, width, chunk):
        stop = min(start + chunk, width)
        # the logits that predict what is scored begin one token before it
        scored = [(max(row.first - 1, start), min(len(row.ids), stop)) for row in rows]
        wanted = any(low < high for low, high in scored)
        logits = session.forward(
            ids[:, start:stop], valid[:, start:stop] if padded else None, last_only=not wanted
        )
        for index, (row, (low, high)) in enumerate(zip(rows, scored, strict=True)):
            if low < high:
                found[index].append(_pick(logits[index, low - start : high - start], row, low))
    return [_gather(row, parts) for row, parts in zip(rows, found, strict=True)]


def _pick(logits: Float[Tensor, "queries vocabulary"], row: Row, low: int) -> tuple[Tensor, Tensor]:
    """Of the tokens that follow ``row.ids[low:]``: log-probability, and whether likeliest."""
    precise = torch.promote_types(logits.dtype, torch.float32)
    log_probabilities = torch.log_softmax(logits, dim=-1, dtype=precise)
    likeliest = logits.argmax(dim=-1)
    targets = torch.tensor(row.ids[low + 1 : low + 1 + len(logits)], device=logits.device)
    inner = log_probabilities[: len(targets)].gather(1, targets[:, None].long())[:, 0]
    greedy = likeliest[: len(targets)] == targets
    if len(targets) < len(logits):  # the last token fed, which the ends follow
        ends = torch.tensor(row.ends, dtype=torch.long, device=logits.device)
        inner = torch.cat([inner, log_probabilities[-1].gather(0, ends)])
        greedy = torch.cat([greedy, likeliest[-1] == ends])
    return inner.cpu(), greedy.cpu()


def _gather(row: Row, parts: list[tuple[Tensor, Tensor]]) -> Scores:
    inner = len(row.ids) - row.first
    values = torch.cat([part[0] for part in parts])
    greedy = torch.cat([part[1] for part in parts])
    return Scores(values[:inner], greedy[:inner], values[inner:], greedy[inner:])
