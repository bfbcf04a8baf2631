"""Is a method alive? Whoever claims to forget must change what the model says.

Published harnesses have reported compression where a backend silently ignored the mask. Here a
method is run beside its twin: the same layers, chunks and arithmetic, with a memory that forgets
nothing. Where tokens are said to be forgotten or attenuated and the two agree to the last bit,
nothing was done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from memollm.evaluation.base import Session, Subject
from memollm.evaluation.probe import Probe, Probed
from memollm.evaluation.text import load

TOKENS = 128  # enough for a hurried method (evaluation.probe)
TEXT = 4000  # characters of the bundled text that are sure to hold them
# Share of a cache's tokens below which forgotten ones may wait to be freed together.
SLACK = 0.2


class DeadMethodError(RuntimeError):
    """A method claims an effect that it does not have."""


@dataclass(frozen=True)
class Effect:
    """What a method did to some tokens."""

    forgotten: float  # tokens no longer visible at the end, summed over layers
    attenuated: bool  # whether any token counted for more or less than untouched
    change: float | None  # largest |dlogit| after the first of that; None: there was no such token
    saved_bytes: int  # against the twin; below 0 where the method's own state outweighs it
    storage: str  # "freed", "masked: saves 0 bytes", or "" where nothing was forgotten


def require_alive(subject: Subject) -> Effect | None:
    """Refuse a method that does nothing on this model, in its hurried form and 128 tokens.

    It takes some 25 forward passes of 16 tokens, so that every run of a memory can afford it. A
    subject without memory, or without an inside, is passed over.

    Raises:
        DeadMethodError: naming the method and what it did not do.
    """
    if not subject.has_memory or not isinstance(subject, Probed):
        return None
    start = load("bundled", "text", "text").joined[:TEXT]
    ids = subject.tokenizer.encode(start, add_special_tokens=False)[:TOKENS]
    return require_effect(subject.probe().hurried(), ids)


@torch.no_grad()
def require_effect(subject: Subject, ids: Sequence[int]) -> Effect:
    """Feed ``ids`` to ``subject`` and its twin, and compare, chunk by chunk.

    Raises:
        DeadMethodError: if tokens are forgotten or attenuated and no later logit differs; or if at
            least a fifth of the tokens of some layer were evicted and no byte was freed.
    """
    assert isinstance(subject, Probed)
    probe = subject.probe()
    twin = probe.twin()
    tokens = torch.tensor([list(ids)], device=subject.device)
    mine = theirs = None
    change, claimed = None, False
    for part in tokens.split(subject.prefill_chunk, dim=1):
        with subject.session(mine) as mine:
            logits = mine.forward(part)
        with twin.session(theirs) as theirs:
            others = theirs.forward(part)
        if claimed:
            change = max(change or 0.0, float((logits - others).abs().max()))
        claimed = claimed or bool(_forgotten(mine, theirs)) or probe.attenuates(mine)
    assert mine is not None and theirs is not None
    effect = _effect(probe, mine, theirs, change)
    _judge(probe.method, effect, mine, theirs)
    return effect


def _forgotten(mine: Session, theirs: Session) -> float:
    pairs = zip(mine.memory_use().kept_tokens, theirs.memory_use().kept_tokens, strict=True)
    return sum(twin - kept for kept, twin in pairs)


def _effect(probe: Probe, mine: Session, theirs: Session, change: float | None) -> Effect:
    forgotten = _forgotten(mine, theirs)
    saved = theirs.memory_use().kv_bytes - mine.memory_use().kv_bytes
    storage = "freed" if probe.evicts else "masked: saves 0 bytes"
    return Effect(forgotten, probe.attenuates(mine), change, saved, storage if forgotten else "")


def _judge(method: str, effect: Effect, mine: Session, theirs: Session) -> None:
    if effect.change == 0.0:
        claim = (
            f"{effect.forgotten:g} tokens are said to be forgotten"
            if effect.forgotten
            else "tokens are said to be attenuated"
        )
        raise DeadMethodError(
            f"{method} is a dead method: {claim} (summed over layers), but no logit of any later "
            "token changed (max |dlogit| = 0 against the same machinery with nothing forgotten)"
        )
    if effect.storage != "freed" or effect.saved_bytes > 0:
        return
    shares = zip(mine.memory_use().kept_tokens, theirs.memory_use().kept_tokens, strict=True)
    if any(kept < (1 - SLACK) * twin for kept, twin in shares):
        raise DeadMethodError(
            f"{method} is a dead method: {effect.forgotten:g} tokens are said to be evicted "
            f"(summed over layers), but no byte was freed: {mine.memory_use().kv_bytes} bytes are "
            f"held, and {theirs.memory_use().kv_bytes} with nothing forgotten"
        )
