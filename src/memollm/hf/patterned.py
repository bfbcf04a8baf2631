"""A chunk of queries under a sparse pattern: attending, and telling the rule of it.

A rule is told what the pattern let through: a token that is hidden from a query got no attention
from it, and is not rehearsed by it.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memollm.attention.kernel import head_mean
from memollm.attention.patterns.attending import Cached, attend_within
from memollm.attention.patterns.base import Pattern
from memollm.attention.view import View
from memollm.hf.columns import Block
from memollm.hf.store import CODES, Store
from memollm.memory.rule import Rule


def attend_patterned(
    pattern: Pattern,
    store: Store,
    rule: Rule,
    queries: Float[Tensor, "rows heads queries dim"],
    position: Int[Tensor, "rows queries"],
    view: View,
    silent: int,
    watched: Bool[Tensor, "rows queries"] | None,
    shown: list[Block] | None,
) -> Float[Tensor, "rows heads queries value_dim"]:
    """Outputs of the queries whose pairs were stored last.

    Args:
        pattern: who sees whom.
        store: all pairs.
        rule: observes the attention, if it observes any.
        queries: with positions already applied.
        position: of each query, -1 for pads.
        view: of the whole store.
        silent: first queries that the rule does not observe.
        watched: which queries it observes, where rows differ.
        shown: takes weights and positions, block by block; None: nobody asked.
    """
    slab = store.slab
    codes = slab[CODES] if store.coded else None
    cached = Cached(slab["keys"], slab["values"], slab["position"], codes, store.in_order)
    in_order = rule.observes or shown is not None
    order, outs = [], []
    for it in attend_within(pattern, queries, position, cached, view, in_order):
        order.append(it.queries)
        outs.append(it.out)
        if shown is not None:
            shown.append((it.spread(it.weights), slab.head("position", it.pairs).clone()))
        if not rule.observes or int(it.queries[-1]) < silent:
            continue
        attention = it.spread(head_mean(it.weights))
        counted = it.queries >= silent if watched is None else watched[:, it.queries]
        attention = torch.where(counted[..., None], attention, 0.0)
        rule.observe(store.state(it.pairs), attention, position[:, it.queries], store.seen)
    if in_order or len(outs) == 1:
        return torch.cat(outs, dim=2)
    return torch.cat(outs, dim=2)[:, :, torch.cat(order).argsort()]
