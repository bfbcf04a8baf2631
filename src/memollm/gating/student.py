"""The student: a frozen model whose attention is damped by gates that are being trained.

Long contexts are cheap because only the last tokens of a sequence, which carry the loss, are
differentiated: the context is streamed before them in chunks, damped as it will be but without
gradients, and leaves keys, values and what gates read of it. The graded tokens then attend to all
of it, with lifetimes that the gates work out anew, with gradients, from what was left.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.cache_utils import DynamicCache
from transformers.masking_utils import sdpa_mask

from memollm.gating.damped import (
    Attention,
    LogLifetime,
    LogRetention,
    as_seen,
    attend_damped,
    attend_noting,
    memories,
    overflow,
    times,
)
from memollm.hf.attention import memory_attention
from memollm.hf.families import UnsupportedModelError
from memollm.hf.inputs import given_inputs, watching_inputs
from memollm.memory.strength.learned import together

NAME = "memollm_gating"  # of the attention function
STUDENT = "memollm_student"  # attribute of attention modules


@dataclass(frozen=True)
class Forgetting:
    """How the memory forgets that gates are trained for: see ``damped.memories``."""

    sinks: int
    recent: int
    every: int  # tokens between two applications of retention
    budget: float | int | None = None
    sharpness: float = 1.0

    def retention(self, log_lifetime: LogLifetime, queries: int) -> LogRetention:
        """Logarithm of R as the last ``queries`` tokens see it."""
        settled = times(log_lifetime.shape[2], queries, self.every, log_lifetime.device)
        memory = memories(
            log_lifetime, settled, self.sinks, self.recent, self.budget, self.sharpness
        )
        return as_seen(memory, settled, queries)

    def overflow(
        self, log_lifetime: LogLifetime, queries: int, budget: float | int
    ) -> Float[Tensor, ""]:
        """What lifetimes as they are hold beyond ``budget``: see ``damped.overflow``."""
        settled = times(log_lifetime.shape[2], queries, self.every, log_lifetime.device)
        return overflow(memories(log_lifetime, settled, self.sinks, self.recent), settled, budget)


@dataclass
class Student:
    """A model with a gate in each of some layers."""

    model: PreTrainedModel
    gates: Mapping[int, nn.Module]  # by layer
    reads_keys: bool
    forgetting: Forgetting
    damping: bool = False  # whether the pass under way is the student's
    read: dict[int, list[Tensor]] = field(default_factory=dict)  # by layer, chunk by chunk
    lifetime: dict[int, LogLifetime] = field(default_factory=dict)  # of all tokens, by layer
    retention: dict[int, LogRetention] = field(default_factory=dict)  # as graded tokens see it
    noting: bool = False  # whether the pass under way is the teacher's graded one
    attention: dict[int, Attention] = field(default_factory=dict)  # the teacher's, by layer

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Route the model's attention through the gates while the block lasts."""
        AttentionInterface.register(NAME, gated_attention)
        AttentionMaskInterface.register(NAME, sdpa_mask)
        before = self.model.config._attn_implementation
        with watching_inputs(self.model, self.gates) as modules:
            for module in modules:
                module.__dict__[STUDENT] = self
            try:
                self.model.set_attn_implementation(NAME)
                yield
            finally:
                self.model.set_attn_implementation(before or "eager")
                for module in modules:
                    del module.__dict__[STUDENT]

    @torch.no_grad()
    def untouched(
        self, ids: Int[Tensor, "batch tokens"], graded: int
    ) -> Float[Tensor, "batch graded vocabulary"]:
        """Logits of the last ``graded`` tokens without any damping."""
        self.damping = False
        self.read.clear()
        return self.model(input_ids=ids, use_cache=False, logits_to_keep=graded).logits

    def damped(
        self, ids: Int[Tensor, "batch tokens"], graded: int, chunk: int
    ) -> Float[Tensor, "batch graded vocabulary"]:
        """Logits of the last ``graded`` tokens under damped attention, with gradients."""
        cache = self._context(ids[:, :-graded], chunk, damping=True)
        return self.model(input_ids=ids[:, -graded:], past_key_values=cache).logits

    def beside_teacher(
        self, ids: Int[Tensor, "batch tokens"], graded: int, chunk: int, damped_context: bool
    ) -> tuple[Float[Tensor, "batch graded vocabulary"], Float[Tensor, "batch graded vocabulary"]]:
        """``untouched`` and ``damped``; they share the context unless that is to be damped, too."""
        teacher, cache = self.teach(ids, graded, chunk)
        if damped_context:
            return teacher, self.damped(ids, graded, chunk)
        cache.crop(-graded)
        for parts in self.read.values():
            parts.pop()
        self.damping = True
        return teacher, self.model(input_ids=ids[:, -graded:], past_key_values=cache).logits

    @torch.no_grad()
    def teach(
        self, ids: Int[Tensor, "batch tokens"], graded: int, chunk: int
    ) -> tuple[Float[Tensor, "batch graded vocabulary"], DynamicCache]:
        """The teacher's logits and cache; notes what it attends to and what gates read."""
        cache = self._context(ids[:, :-graded], chunk, damping=False)
        self.noting = True
        logits = self.model(input_ids=ids[:, -graded:], past_key_values=cache).logits
        self.noting = False
        return logits, cache

    def forget(self, layer: int, graded: int) -> LogRetention:
        """Logarithm of R as a layer's last tokens see it, from what its gate has read; noted."""
        parts = self.read[layer]
        everything = parts[-1] if self.reads_keys else torch.cat(parts, dim=1)
        self.lifetime[layer] = self.gates[layer](everything).transpose(1, 2)
        self.retention[layer] = self.forgetting.retention(self.lifetime[layer], graded)
        return self.retention[layer]

    @torch.no_grad()
    def _context(
        self, context: Int[Tensor, "batch tokens"], chunk: int, damping: bool
    ) -> DynamicCache:
        """The cache that a context leaves."""
        self.damping = damping
        self.read.clear()
        cache = DynamicCache(config=self.model.config.get_text_config(decoder=True))
        for part in context.split(chunk, dim=1):
            self.model(input_ids=part, past_key_values=cache, logits_to_keep=1)
        return cache


def gated_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attention of one layer, as Transformers calls it; its mask is causal, there are no pads."""
    student: Student | None = module.__dict__.get(STUDENT)
    layer: int = module.layer_idx  # pyright: ignore[reportAssignmentType]
    if student is not None:
        if s_aux is not None:
            raise UnsupportedModelError(
                f"{type(module).__name__} has learned attention sinks: gates cannot be trained"
            )
        given = given_inputs(module)
        student.read.setdefault(layer, []).append(together(key) if student.reads_keys else given)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if student is not None and student.noting:
        out, student.attention[layer] = attend_noting(query, key, value, scale, softcap)
        return out.transpose(1, 2).contiguous(), None
    if student is None or not student.damping:
        return memory_attention(
            module, query, key, value, attention_mask, dropout, scaling, softcap, s_aux, **kwargs
        )
    retention = student.forget(layer, query.shape[2])
    out = attend_damped(query, key, value, retention, scale, softcap)
    return out.transpose(1, 2).contiguous(), None
