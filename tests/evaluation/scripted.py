"""Subjects whose every answer is known: what they cannot score right, an evaluation got wrong.

Their tokens are bytes, so that a character may be split between two of them.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import torch

from memollm.evaluation.base import MemoryUse

VOCABULARY = 256
Predict = Callable[[list[int]], torch.Tensor]  # tokens remembered -> logits of the next one


class Bytes:
    """A tokenizer of bytes; with ``bos``, one that opens every text with a special token."""

    def __init__(self, bos: int | None = None) -> None:
        self.bos = bos

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        opened = [self.bos] if add_special_tokens and self.bos is not None else []
        return opened + list(text.encode())

    def decode(self, ids: list[int], *, skip_special_tokens: bool = False) -> str:
        return bytes(ids).decode(errors="replace")


class ScriptedSession:
    """Remembers the last ``window`` tokens and no other."""

    def __init__(self, subject: Scripted) -> None:
        self.subject, self.tokens, self.calls = subject, [], []

    def forward(self, ids, mask=None, last_only=False):
        assert len(ids) == 1 and mask is None
        self.calls.append(ids.shape[1])
        logits = []
        for token in ids[0].tolist():
            self.tokens.append(token)
            if not last_only:
                logits.append(self._next())
        return (torch.stack(logits) if logits else self._next()[None])[None]

    def _next(self) -> torch.Tensor:
        return self.subject.predict(self.tokens[-self.subject.window :])

    def memory_use(self) -> MemoryUse:
        kept = min(len(self.tokens), self.subject.window)
        return MemoryUse([float(kept)], len(self.tokens), kept, len(self.tokens))

    def forgotten(self, positions):
        window, seen = self.subject.window, len(self.tokens)
        return [[i + window + 1 if i + window < seen else None for i in positions]]


@dataclass
class Scripted:
    """A subject that predicts by a rule."""

    predict: Predict
    window: int = 1 << 30
    name: str = "scripted"
    max_length: int = 8192
    prefill_chunk: int = 100
    has_memory: bool = True
    weight_bytes: int = 0
    tokenizer: Bytes = field(default_factory=Bytes)
    device: torch.device = torch.device("cpu")
    sessions: list[ScriptedSession] = field(default_factory=list)  # all there were
    open: int = 0

    @contextlib.contextmanager
    def session(
        self, earlier: ScriptedSession | None = None, ledger: bool = False
    ) -> Iterator[ScriptedSession]:
        self.open += 1
        self.sessions += [ScriptedSession(self)] if earlier is None else []
        try:
            yield earlier or self.sessions[-1]
        finally:
            self.open -= 1

    def untouched(self) -> Scripted:
        return Scripted(self.predict, has_memory=False)

    def probe(self) -> ScriptedProbe:
        return ScriptedProbe(self)


@dataclass
class ScriptedProbe:
    """The inside of a subject that has no layers."""

    subject: Scripted
    method: str = "a script"
    evicts: bool = True

    def twin(self) -> Scripted:
        return replace(self.subject, window=1 << 30)

    def hurried(self) -> Scripted:
        return replace(self.subject, window=16, prefill_chunk=16)

    def windowed(self, window, sinks):
        return replace(self.subject, window=window).session()

    def watching(self, earlier=None):
        raise NotImplementedError

    def visible(self, session):
        return {}

    def attenuates(self, session):
        return False


def uniform(tokens: list[int]) -> torch.Tensor:
    """Every token as likely as any other: perplexity 256, eight bits a byte."""
    return torch.zeros(VOCABULARY)


def copying(tokens: list[int]) -> torch.Tensor:
    """Sure of what followed the last two tokens when they last stood together; else uniform."""
    for i in range(len(tokens) - 1, 1, -1):
        if tokens[i - 2 : i] == tokens[-2:]:
            return _sure(tokens[i])
    return uniform(tokens)


def retrieving(tokens: list[int]) -> torch.Tensor:
    """Answers every question whose needle it remembers, and is silent on the others."""
    text = bytes(tokens).decode(errors="replace")
    before, _, asked = text.rpartition("\nWhat is the ")
    said = re.search(r" is( ?[\d.]*)$", asked)
    key = re.match(r"special magic number for (\S+) mentioned", asked)
    needle = f"magic numbers for {re.escape(key[1])} is: " if key else "The pass key is "
    found = re.search(needle + r"(\d+)\.", before)
    if not (said and found) or not f" {found[1]}.".startswith(said[1]):
        return _sure(ord("\n"))
    return _sure(ord(f" {found[1]}."[len(said[1])]))


def _sure(token: int) -> torch.Tensor:
    return torch.zeros(VOCABULARY).index_fill(0, torch.tensor([token]), 100.0)
