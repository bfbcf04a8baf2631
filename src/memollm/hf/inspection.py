"""Reading a layer's memory: what each token of a row was worth, in the order of the text."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memollm.hf.remembering import Remembering
from memollm.memory.ebbinghaus_rule import EbbinghausRule


@dataclass(frozen=True)
class TokenStates:
    """The memory of one layer and row, token by token, forgotten ones included.

    What is forgotten shows the retention that it had when it was forgotten; without a ledger
    (see ``attach``) nothing but its being forgotten is known, and the rest is nan or -1. So it is
    under a rule that knows no retention.
    """

    retention: Float[Tensor, " tokens"]
    strength: Float[Tensor, " tokens"]
    age: Int[Tensor, " tokens"]  # tokens since insertion or the last recall
    kept: Bool[Tensor, " tokens"]
    forgotten_at: Int[Tensor, " tokens"]  # position of the query that it was forgotten after, or -1


def token_states(layer: Remembering, row: int = 0) -> TokenStates:
    """The states of all tokens that sequence ``row`` has seen.

    Where key-value heads have a memory each: what they know on average, the least age, and what any
    of them keeps.
    """
    heads = [_row_states(layer, row * layer.heads + head) for head in range(layer.heads)]
    if len(heads) == 1:
        return heads[0]
    kept = torch.stack([it.kept for it in heads]).any(dim=0)
    died = torch.stack([it.forgotten_at for it in heads])
    return TokenStates(
        torch.stack([it.retention for it in heads]).mean(dim=0),
        torch.stack([it.strength for it in heads]).mean(dim=0),
        torch.stack([it.age for it in heads]).amin(dim=0),
        kept,
        torch.where((died < 0).any(dim=0), -1, died.amax(dim=0)),
    )


def _row_states(layer: Remembering, row: int) -> TokenStates:
    tokens = int(layer.store.seen[row])
    strength = torch.full((tokens,), torch.nan)
    recalled = torch.full((tokens,), tokens, dtype=torch.long)
    died = torch.full((tokens,), -1)
    kept = torch.zeros(tokens, dtype=torch.bool)
    fades = isinstance(layer.rule, EbbinghausRule)
    notes = layer.ledger
    if notes is not None and notes.forgotten_at.numel():
        noted = min(tokens, notes.forgotten_at.shape[1])
        was = (notes.forgotten_at[row, :noted] >= 0).nonzero().squeeze(1)
        if fades:
            strength[was] = notes.state["strength"][row, was].float()
            recalled[was] = notes.state["recalled"][row, was].long()
        died[was] = notes.forgotten_at[row, was]
    slab = layer.slab
    present = (slab["position"][row] >= 0).cpu()
    position = slab["position"][row].cpu().long()[present]
    hidden = slab["hidden"][row].cpu()[present]
    faded = slab["forgotten"][row].cpu()[present]
    alive = position[~faded]
    if fades:
        strength[position] = slab["strength"][row].float().cpu()[present]
        recalled[position] = slab["recalled"][row].long().cpu()[present]
    kept[position[~hidden]] = True
    died[alive] = -1
    now = torch.where(died >= 0, died, tokens - 1)
    age = torch.where(strength.isnan(), -1, now - recalled)
    curve, step = layer.memory.retention, layer.memory.time_step
    retention = curve.retention(age.double() * step, strength.double()).float()
    return TokenStates(retention, strength, age, kept, died)
