"""Rehearsal: attention strengthens what it falls on, and restarts its clock."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def rehearse(
    strength: Float[Tensor, "batch pairs"],
    recalled: Int[Tensor, "batch pairs"],
    attention: Float[Tensor, "batch queries pairs"],
    queries: Int[Tensor, "batch queries"],
    reinforcement: float,
    recall_threshold: float | None,
    by_recall: bool = False,
) -> None:
    """Account, in place, for the attention that some queries gave the cached pairs.

    S_i += reinforcement * sum of a_i over the queries, or with ``by_recall`` reinforcement * number
    of queries that recalled i; the clock of i restarts at the last query that did, which is to say
    a_i >= recall_threshold. All is exact for each query, in whatever blocks they come.

    Args:
        strength: S of each pair.
        recalled: position of the query that last recalled each pair, or of the pair itself.
        attention: a, mean over query heads; 0 where a query is the pair's own, or sees it not.
        queries: positions of the queries.
        reinforcement: strength gained for each unit of attention.
        recall_threshold: attention that counts as a recall; None: none does.
        by_recall: whether each recall strengthens by one unit, and nothing else does.
    """
    if by_recall and recall_threshold is not None:
        recalls = (attention >= recall_threshold).to(strength.dtype)
        strength.add_(recalls.sum(dim=1), alpha=reinforcement)
        reinforcement = 0.0
    if attention.shape[1] == 1:  # decoding: as below, in fewer steps
        given = attention[:, 0]
        if reinforcement:
            strength.add_(given, alpha=reinforcement)
        if recall_threshold is not None:
            torch.where(given >= recall_threshold, queries, recalled, out=recalled)
        return
    if reinforcement:
        strength.add_(attention.sum(dim=1), alpha=reinforcement)
    if recall_threshold is not None:
        recalls = torch.where(attention >= recall_threshold, queries[:, :, None], -1)
        torch.maximum(recalled, recalls.amax(dim=1), out=recalled)
