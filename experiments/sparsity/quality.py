"""What forgetting costs on a text: the same tokens, with the memory and without."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from memollm.hf.subject import HFSession, HFSubject


@dataclass(frozen=True)
class Quality:
    """Over the second half of a text, where there is something to have forgotten."""

    tokens: int
    perplexity: float
    perplexity_baseline: float
    kl: float  # of the untouched model's predictions from the memory's, nats a token, mean
    agreement: float  # share of tokens whose likeliest successor is the same


@torch.no_grad()
def quality(subject: HFSubject, ids: Sequence[int]) -> Quality:
    """Stream ``ids`` through ``subject`` and through its untouched model, chunk by chunk."""
    tokens = torch.tensor(ids, device=subject.device)
    sessions: list[HFSession | None] = [None, None]
    losses: list[list[Tensor]] = [[], []]
    divergences, same = [], []
    for start in range(0, len(ids) - 1, subject.prefill_chunk):
        part = tokens[start : start + subject.prefill_chunk][: len(ids) - 1 - start]
        targets = tokens[start + 1 : start + 1 + len(part)]
        predicted = []
        for index, one in enumerate((subject.untouched(), subject)):
            with one.session(sessions[index]) as session:
                logits = session.forward(part[None])[0].float()
            sessions[index] = session
            predicted.append(logits.log_softmax(-1))
            losses[index].append(F.cross_entropy(logits, targets, reduction="none").cpu())
        base, mine = predicted
        divergences.append((base.exp() * (base - mine)).sum(-1).cpu())
        same.append((base.argmax(-1) == mine.argmax(-1)).cpu())
    late = slice(len(ids) // 2, None)
    base, mine = (torch.cat(it)[late] for it in losses)
    return Quality(
        tokens=len(mine),
        perplexity=math.exp(mine.mean().item()),
        perplexity_baseline=math.exp(base.mean().item()),
        kl=torch.cat(divergences)[late].mean().item(),
        agreement=torch.cat(same)[late].float().mean().item(),
    )
