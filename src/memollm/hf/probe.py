"""Looking into a Hugging Face model: attention outputs and weights, windows, what is visible.

All of it goes through the interface by which Transformers calls attention functions, and ends in
the same attention function as everything else; nothing is computed a second way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import sdpa_mask

from memollm.evaluation.base import Session
from memollm.evaluation.probe import Sight
from memollm.hf.attention import memory_attention
from memollm.hf.layer import TAG, MemoryLayer
from memollm.hf.rules import rules
from memollm.memory.ebbinghaus import Memory
from memollm.modes.baseline import Baseline
from memollm.modes.sparse_attention import SparseAttention
from memollm.registry import name_of

if TYPE_CHECKING:
    from memollm.hf.subject import HFSession, HFSubject

NAME = "memollm_probe"
SHORT = 16  # tokens that a hurried memory keeps what nobody rehearses, and its chunk
SHARE = 0.25  # of the tokens that a hurried budget keeps


class HFProbe:
    """The inside of an ``HFSubject``; see ``evaluation.probe.Probe``."""

    def __init__(self, subject: HFSubject) -> None:
        self.subject = subject

    @property
    def method(self) -> str:
        it = self.subject
        return f"mode={name_of(it.mode)} policy={name_of(it.memory.policy)} on {it.name}"

    @property
    def evicts(self) -> bool:
        return self.subject.mode.evicts

    def twin(self) -> HFSubject:
        memory, layers = self.subject.memory, len(self.subject.memory_layers)
        observes = layers > 0 and rules(memory, self.subject.mode, [None] * layers)[0].observes
        everything = Memory(
            threshold=0.0,
            # Who watches attention computes it another way, to the last bit.
            reinforcement=1.0 if observes else 0.0,
            recall_threshold=None,
            layer_fraction=memory.layer_fraction,
            prefill_chunk=memory.prefill_chunk,
            granularity=memory.granularity,
            pattern=memory.pattern,
        )
        mode = SparseAttention() if self.subject.has_memory else Baseline()
        return self._under(everything, mode)

    def hurried(self) -> HFSubject:
        memory = self.subject.memory
        hurried = replace(
            memory,
            sinks=min(memory.sinks, 4),
            recent=min(memory.recent, 4),
            prefill_chunk=min(memory.prefill_chunk, SHORT),
            budget=None if memory.budget is None else SHARE,
            time_step=_hurry(memory, len(self.subject.memory_layers)),
            reinforcement=0.0,
            recall_threshold=None,
        )
        return self._under(hurried, self.subject.mode)

    @contextmanager
    def watching(self, earlier: Session | None = None) -> Iterator[Sight]:
        with self.subject.session(earlier) as session:
            sight = Sight(session)

            def watched(
                module: Any,
                query: Tensor,
                key: Tensor,
                value: Tensor,
                mask: Tensor | None,
                **rest: Any,
            ) -> tuple[Tensor, None]:
                # Of a memory the outputs are enough; its own weights would cost a second copy.
                rest["output_attentions"] = getattr(key, TAG, None) is None
                out, weights = memory_attention(module, query, key, value, mask, **rest)
                sight.outputs[module.layer_idx] = out
                if weights is not None:
                    sight.weights[module.layer_idx] = weights
                return out, None

            with attending_by(self.subject.model, watched):
                yield sight

    @contextmanager
    def windowed(self, window: int, sinks: int) -> Iterator[Windowed]:
        with self.subject.untouched().session() as session:
            windowed = Windowed(session)

            def near(
                module: Any,
                query: Tensor,
                key: Tensor,
                value: Tensor,
                mask: Tensor | None,
                **rest: Any,
            ) -> tuple[Tensor, Tensor | None]:
                tokens = torch.arange(windowed.seen, device=query.device)
                queries = tokens[-query.shape[2] :, None]
                pairs = tokens[-key.shape[2] :]  # a sliding layer holds the newest ones alone
                seen = (queries - pairs < window) | (pairs < sinks)
                seen = seen & (pairs <= queries)
                if mask is not None:
                    seen = seen & (mask if mask.dtype == torch.bool else mask >= 0)
                seen = seen.expand(len(query), 1, *seen.shape[-2:])
                return memory_attention(module, query, key, value, seen, **rest)

            with attending_by(self.subject.model, near):
                yield windowed

    def visible(self, session: Session) -> dict[int, Tensor]:
        found = {}
        for index, layer in holding_layers(session):
            slab, heads = layer.remembering.slab, layer.remembering.heads
            visible = torch.zeros(heads, int(layer.remembering.seen[0]), dtype=torch.bool)
            for head in range(heads):  # of the first sequence
                visible[head, slab["position"][head][~slab["hidden"][head]].long().cpu()] = True
            found[index] = visible if heads > 1 else visible[0]
        return found

    def attenuates(self, session: Session) -> bool:
        nothing = torch.ones(1, 1), torch.zeros(1, 1, dtype=torch.bool)
        plain = self.subject.mode.treat(*nothing)
        neutral = {"key_scale": 1.0, "value_scale": 1.0, "bias": 0.0}
        names = [name for name in neutral if getattr(plain, name) is not None]
        return any(
            bool((layer.remembering.slab[name] != neutral[name]).any())
            for _, layer in holding_layers(session)
            for name in names
        )

    def _under(self, memory: Memory, mode: Any) -> HFSubject:
        it = self.subject
        return type(it)(it.model, it.tokenizer, memory, mode, it.name)


class Windowed:
    """A session that counts its tokens, for attention that goes by position."""

    def __init__(self, session: HFSession) -> None:
        self.seen = 0
        self._session = session

    def forward(self, ids: Tensor, mask: Tensor | None = None, last_only: bool = False) -> Tensor:
        if mask is not None:
            raise ValueError("a windowed session takes no padding: feed one row at a time")
        self.seen += ids.shape[1]
        return self._session.forward(ids, last_only=last_only)

    def memory_use(self) -> Any:
        return self._session.memory_use()


@contextmanager
def attending_by(model: PreTrainedModel, function: Callable[..., Any]) -> Iterator[None]:
    """Have every attention call of ``model`` go through ``function`` while the block lasts."""
    AttentionInterface.register(NAME, function)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    before = model.config._attn_implementation
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before or "eager")


def holding_layers(session: Session) -> Iterator[tuple[int, MemoryLayer]]:
    """The memory layers that hold something, with their index in the model."""
    cache = session.cache  # pyright: ignore[reportAttributeAccessIssue] - an HFSession
    for index, layer in enumerate(cache.layers):
        if isinstance(layer, MemoryLayer) and layer.remembering.columns:
            yield index, layer


def _hurry(memory: Memory, layers: int) -> float:
    """A time step so long that every layer gives up after SHORT tokens what nobody rehearses."""
    numbers = [it.value for it in memory.thresholds(layers) if it.value]
    if not numbers:  # a budget decides, or nothing is ever forgotten
        return memory.time_step
    return memory.strength * memory.retention.lifetime(min(numbers)) / SHORT
