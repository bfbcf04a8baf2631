"""A subject whose sessions are traced: whatever an evaluation asks of it leaves a trace.

Tokens are fed in the memory's own chunks, and attention weights are asked for; the layers then
compute what they would compute, but for the last bit where they would have used a kernel that
gives no weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memollm.evaluation.base import MemoryUse, Session, Subject, Tokenizer
from memollm.evaluation.streaming import greedy
from memollm.hf.attention import memory_attention
from memollm.hf.layer import TAG, MemoryLayer
from memollm.hf.probe import attending_by, holding_layers
from memollm.hf.recorder import RAW_BYTES, Recorder
from memollm.hf.subject import HFSession, HFSubject
from memollm.traces.trace import MAX_TOKENS, Trace


class TracedSubject:
    """An ``HFSubject`` that keeps a recorder of every session."""

    def __init__(self, subject: HFSubject, raw_bytes: int = RAW_BYTES) -> None:
        if not subject.has_memory:
            raise ValueError(f"{subject.name} has no memory to trace: choose another mode")
        self.subject, self.raw_bytes = subject, raw_bytes
        self.recorders: list[Recorder] = []
        self.name, self.max_length = subject.name, subject.max_length
        self.prefill_chunk, self.has_memory = subject.prefill_chunk, subject.has_memory

    @property
    def tokenizer(self) -> Tokenizer:
        return self.subject.tokenizer  # pyright: ignore[reportReturnType] - decode of one text

    @property
    def device(self) -> torch.device:
        return self.subject.device

    @property
    def weight_bytes(self) -> int:
        return self.subject.weight_bytes

    @contextmanager
    def session(
        self, earlier: Session | None = None, ledger: bool = False
    ) -> Iterator[TracedSession]:
        """As ``Subject.session``; there is always a ledger."""
        if earlier is None:
            recorder, inner = Recorder(self.raw_bytes), None
            self.recorders.append(recorder)
        else:
            assert isinstance(earlier, TracedSession)
            recorder, inner = earlier.recorder, earlier.inner

        def watched(
            module: Any,
            query: Tensor,
            key: Tensor,
            value: Tensor,
            mask: Tensor | None,
            **rest: Any,
        ) -> tuple[Tensor, None]:
            layer: MemoryLayer | None = getattr(key, TAG, None)
            rest["output_attentions"] = layer is not None
            out, weights = memory_attention(module, query, key, value, mask, **rest)
            if layer is not None and weights is not None:
                recorder.attend(layer.remembering, weights)
            return out, None

        with (
            self.subject.session(inner, ledger=True) as session,
            attending_by(self.subject.model, watched),
        ):
            yield TracedSession(session, recorder, self.prefill_chunk)

    def untouched(self) -> Subject:
        return self.subject.untouched()  # pyright: ignore[reportReturnType] - as above

    def trace(self, prompt_tokens: int | None = None) -> Trace:
        """The trace of the session that read most.

        Args:
            prompt_tokens: how many of its tokens are the prompt; None: all.

        Raises:
            ValueError: if no session was opened here, or none read anything.
        """
        recorder = max(self.recorders, key=lambda it: len(it.ids), default=None)
        if recorder is None or not recorder.moments:
            raise ValueError("nothing was read through the memory: there is nothing to trace")
        tokens = texts(self.tokenizer, recorder.ids)
        count = len(tokens) if prompt_tokens is None else prompt_tokens
        return recorder.trace(tokens, count, self.subject.memory_layers)


class TracedSession:
    """One cache that is being filled, and looked at after every step."""

    def __init__(self, inner: HFSession, recorder: Recorder, chunk: int) -> None:
        self.inner, self.recorder, self._chunk = inner, recorder, chunk

    def forward(
        self,
        ids: Int[Tensor, "batch queries"],
        mask: Bool[Tensor, "batch queries"] | None = None,
        last_only: bool = False,
    ) -> Float[Tensor, "batch _ vocabulary"]:
        if mask is not None or len(ids) != 1:
            raise ValueError("a traced session takes one row at a time, without padding")
        parts = []
        for step in ids.split(self._chunk, dim=1):
            logits = self.inner.forward(step, last_only=last_only)
            layers = [it.remembering for _, it in holding_layers(self.inner)]
            self.recorder.settle(step[0].tolist(), layers)
            parts = [logits] if last_only else [*parts, logits]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def memory_use(self) -> MemoryUse:
        return self.inner.memory_use()

    def forgotten(self, positions: Sequence[int]) -> list[list[int | None]]:
        return self.inner.forgotten(positions)


def texts(tokenizer: Tokenizer, ids: Sequence[int]) -> list[str]:
    """The text of each token, as it reads after the one before it.

    A token alone may lose the space it begins with, as SentencePiece's first one does.
    """
    found, before = [], []
    for token in ids:
        alone = tokenizer.decode(before)
        both = tokenizer.decode([*before, token])
        found.append(both[len(alone) :] if both.startswith(alone) else tokenizer.decode([token]))
        before = [token]
    return found


def trace_text(subject: HFSubject, text: str, max_new_tokens: int) -> Trace:
    """The trace of ``text``, read and then continued greedily.

    The last token generated is not in it: nobody has read it.

    Raises:
        ValueError: for a text that the model cannot take.
    """
    ids = subject.tokenizer.encode(text)
    needed = len(ids) + max(max_new_tokens - 1, 0)
    limit = min(subject.max_length, MAX_TOKENS)
    if not ids or needed > limit:
        raise ValueError(
            f"a text of {len(ids)} tokens and max_new_tokens={max_new_tokens} are not allowed: "
            f"{subject.name} takes 1 to {limit} tokens"
        )
    traced = TracedSubject(subject)
    with traced.session() as session:
        if max_new_tokens:
            greedy(session, ids, max_new_tokens, _ends(subject), subject.device)
        else:
            session.forward(torch.tensor([ids], device=subject.device), last_only=True)
    return traced.trace(len(ids))


def _ends(subject: HFSubject) -> list[int]:
    """The tokens that end a text."""
    settings = subject.model.generation_config
    ends = settings.eos_token_id if settings else None
    return [] if ends is None else [ends] if isinstance(ends, int) else list(ends)
