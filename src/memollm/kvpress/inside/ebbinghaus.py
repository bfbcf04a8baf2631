"""Our memory as a press: what the forgetting curve keeps of a context that was read whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from kvpress.utils import get_prerope_query_states  # pyright: ignore[reportMissingImports]
from torch import Tensor
from transformers.models.llama.modeling_llama import repeat_kv, rotate_half

from kvpress import ScorerPress  # pyright: ignore[reportMissingImports] - an optional extra
from memollm.kvpress.inside.positions import with_cache_positions
from memollm.memory.ebbinghaus import Memory
from memollm.memory.forgetting import protected
from memollm.memory.rehearsal import rehearse


@dataclass
class EbbinghausPress(ScorerPress):
    """Keeps the tokens of highest retention R = exp(-t / S) at the end of the context.

    Strength and age are those of ``memollm``'s memory: S grows by the attention that a token got,
    the clock restarts where a query gave it ``recall_threshold`` or more, ``sinks`` and ``recent``
    tokens are kept whatever happens. The score is the rank of a token, shared by all heads; among
    equals the newer one stays.

    What it is not: the memory itself. A press acts once, after prefill, on a context that every
    query saw whole; in the memory the forgotten gets no attention, from the next chunk on. Only
    the last ``queries`` queries rehearse, as in SnapKV (arXiv:2404.14469), since the attention of
    all of them would take memory quadratic in the context; with at least as many as the context
    has tokens, what is kept is what the memory keeps of a prompt in one chunk. Without rehearsal
    (``reinforcement=0``, ``recall_threshold=None``) it is a sliding window: StreamingLLM
    (arXiv:2309.17453) with as many sinks.

    Ranks mean nothing to a press that compares scores with a threshold or between heads (DMSPress,
    AdaKVPress).
    """

    compression_ratio: float = 0.0
    strength: float = 5.0  # S of a new token, in units of time; > 0
    time_step: float = 0.01  # time that passes with each token; > 0
    reinforcement: float = 1.0  # strength gained for each unit of attention; >= 0
    recall_threshold: float | None = 0.01  # attention that restarts the clock; None: none does
    sinks: int = 4  # first tokens, never dropped; >= 0
    recent: int = 16  # newest tokens, never dropped; >= 0
    queries: int = 64  # newest queries whose attention rehearses; >= 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.queries < 1:
            raise ValueError(f"queries={self.queries} is not allowed, it must be >= 1")
        self._memory = Memory(  # refuses what is out of range
            strength=self.strength, time_step=self.time_step, sinks=self.sinks,
            recent=self.recent, reinforcement=self.reinforcement,
            recall_threshold=self.recall_threshold,
        )  # fmt: skip

    @contextmanager
    def __call__(self, model: Any) -> Iterator[None]:
        """As every press, on any version of Transformers (see ``with_cache_positions``)."""
        with with_cache_positions(model), super().__call__(model):
            yield

    def score(
        self,
        module: Any,
        hidden_states: Float[Tensor, "batch tokens hidden"],
        keys: Float[Tensor, "batch kv_heads tokens dim"],
        values: Float[Tensor, "batch kv_heads tokens dim"],
        attentions: Float[Tensor, "batch heads tokens tokens"] | None,
        kwargs: Any,
    ) -> Float[Tensor, "batch kv_heads tokens"]:
        batch, heads, tokens, _ = keys.shape
        self._require_room(tokens)
        count = min(self.queries, tokens)
        if attentions is None:
            attentions = _attention(
                module, hidden_states, keys, kwargs["position_embeddings"], count
            )
        attention = attentions[:, :, -count:].mean(dim=1)
        attention.diagonal(offset=tokens - count, dim1=1, dim2=2).zero_()  # later queries alone
        position = torch.arange(tokens, device=keys.device).expand(batch, tokens)
        strength = torch.full(position.shape, self.strength, device=keys.device)
        recalled = position.clone()
        rehearse(
            strength, recalled, attention, position[:, -count:],
            self.reinforcement, self.recall_threshold,
        )  # fmt: skip
        age = (tokens - 1 - recalled).double() * self.time_step
        retention = self._memory.retention.retention(age, strength.double())
        seen = torch.full((batch,), tokens, device=keys.device)
        spared = protected(position, seen, self.sinks, self.recent)
        weakest_first = torch.where(spared, torch.inf, retention).argsort(dim=1, stable=True)
        rank = torch.empty_like(position).scatter_(1, weakest_first, position)
        # Ranks differ, so that no tie is left to topk; float32 tells 2^24 of them apart.
        return rank.float()[:, None].expand(batch, heads, tokens)

    def _require_room(self, tokens: int) -> None:
        kept, spared = int(tokens * (1 - self.compression_ratio)), self.sinks + self.recent
        if self.compression_ratio and kept < spared:
            raise ValueError(
                f"compression_ratio={self.compression_ratio} keeps {kept} of {tokens} tokens, "
                f"fewer than the {spared} that are never dropped (sinks + recent)"
            )


def _attention(
    module: Any,
    hidden_states: Float[Tensor, "batch tokens hidden"],
    keys: Float[Tensor, "batch kv_heads tokens dim"],
    position_embeddings: tuple[Tensor, Tensor],
    count: int,
) -> Float[Tensor, "batch heads {count} tokens"]:
    """What the last ``count`` queries attended to: attention functions do not return it."""
    cos, sin = (it[:, -count:, None].transpose(1, 2) for it in position_embeddings)
    queries = get_prerope_query_states(module, hidden_states[:, -count:])
    queries = queries * cos + rotate_half(queries) * sin
    groups = queries.shape[1] // keys.shape[1]
    logits = queries @ repeat_kv(keys, groups).transpose(2, 3) * module.scaling
    tokens = keys.shape[2]
    later = torch.ones(count, tokens, dtype=torch.bool, device=keys.device)
    logits = logits.masked_fill(later.triu(tokens - count + 1), -torch.inf)
    return logits.softmax(dim=-1, dtype=torch.promote_types(logits.dtype, torch.float32))
