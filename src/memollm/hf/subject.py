"""A Hugging Face model as evaluations see it: a ``Subject`` and its ``Session``."""

from __future__ import annotations

import copy
import functools
import inspect
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import Cache, DynamicCache

from memollm.evaluation.base import MemoryUse, Session
from memollm.hf.attachment import attach
from memollm.hf.calibration import calibrated
from memollm.hf.families import memory_layers
from memollm.hf.layer import MemoryLayer
from memollm.hf.probe import HFProbe
from memollm.hf.remembering import Remembering
from memollm.memory.certain import kept_for_certain
from memollm.memory.ebbinghaus import Memory
from memollm.memory.ebbinghaus_rule import EbbinghausRule
from memollm.modes.base import Mode
from memollm.modes.baseline import Baseline
from memollm.scratch.cache import MechanismLayer


class HFSubject:
    """A causal language model under a memory and a mode."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        memory: Memory,
        mode: Mode,
        name: str = "",
    ) -> None:
        if mode.has_memory and mode.forgets:
            memory = calibrated(model, tokenizer, memory)
        self.model, self.tokenizer, self.memory, self.mode = model, tokenizer, memory, mode
        self.name = name or type(model).__name__
        self.prefill_chunk = memory.prefill_chunk
        self.has_memory = mode.has_memory
        config = model.config.get_text_config(decoder=True)
        self.max_length: int = getattr(
            config, "max_position_embeddings", sys.maxsize
        )  # ALiBi: none
        with attach(model, memory, mode):  # refuses what cannot be honoured, before any measurement
            pass

    @property
    def device(self) -> torch.device:
        return self.model.device

    @functools.cached_property
    def weight_bytes(self) -> int:
        """Bytes of weights that a decoded token has to read: all but a table it is looked up in.

        Of a mixture of experts all are counted, though a token reads a few.
        """
        total = sum(it.numel() * it.element_size() for it in self.model.parameters())
        table = self.model.get_input_embeddings().weight
        head = self.model.get_output_embeddings()
        assert isinstance(table, Tensor)
        tied = head is not None and head.weight is table
        return total if tied else total - table.numel() * table.element_size()

    @property
    def keeps_for_certain(self) -> float:
        """Most tokens of a sequence that the memory leaves as they are; infinite without one."""
        if not self.has_memory:
            return math.inf
        whole = self.memory.pattern.whole
        if not self.mode.forgets:
            return whole
        return min(whole, kept_for_certain(self.memory, len(self.memory_layers), self.mode.graded))

    @property
    def memory_layers(self) -> list[int]:
        """Indices of the layers that have the memory."""
        if not self.has_memory:
            return []
        return memory_layers(type(self.model), self.model.config, self.memory)

    @contextmanager
    def session(self, earlier: Session | None = None, ledger: bool = False) -> Iterator[HFSession]:
        """A fresh cache, or an ``earlier`` session's; the memory is attached while the block lasts.

        A session may be left and entered again, so that several can take turns on one model. With
        a ``ledger`` a fresh cache notes when it forgets what.
        """
        attached = attach(self.model, self.memory, self.mode, ledger=ledger)
        with attached as attachment, torch.no_grad():
            if earlier is not None:
                assert isinstance(earlier, HFSession)
                yield earlier
                return
            config = self.model.config.get_text_config(decoder=True)
            if attachment is None:
                yield HFSession(self.model, DynamicCache(config=config))
                return
            chunk = self.memory.prefill_chunk if attachment.by_chunk else None
            yield HFSession(self.model, attachment.new_cache(), chunk)

    def untouched(self) -> HFSubject:
        """The same model without memory."""
        return HFSubject(self.model, self.tokenizer, self.memory, Baseline(), self.name)

    def probe(self) -> HFProbe:
        """Its inside, for evaluations that look closer."""
        return HFProbe(self)


class HFSession:
    """One cache that is being filled."""

    def __init__(self, model: PreTrainedModel, cache: Cache, chunk: int | None = None) -> None:
        self.model, self.cache = model, cache
        self._chunk = chunk  # most tokens of one forward pass of the model; None: any number
        self._mask: Tensor | None = None  # of all tokens so far; None: no pads

    def forward(
        self,
        ids: Int[Tensor, "batch queries"],
        mask: Bool[Tensor, "batch queries"] | None = None,
        last_only: bool = False,
    ) -> Float[Tensor, "batch _ vocabulary"]:
        """Feed tokens; logits of each of them, or with ``last_only`` of the last alone."""
        ids = ids.to(self.model.device)
        step = self._chunk or ids.shape[1]
        parts = []
        for start in range(0, ids.shape[1], step):
            part = None if mask is None else mask[:, start : start + step].to(ids.device)
            logits = self._step(ids[:, start : start + step], part, last_only)
            parts = [logits] if last_only else [*parts, logits]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def _step(self, ids: Tensor, mask: Tensor | None, last_only: bool) -> Tensor:
        seen = self.cache.get_seq_length()
        options = {}
        if mask is not None or self._mask is not None:
            new = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask
            old = new.new_ones(len(ids), seen) if self._mask is None else self._mask
            self._mask = torch.cat([old, new], dim=1)
            options["attention_mask"] = self._mask.long()
            positions = (self._mask.long().cumsum(dim=1) - 1).clamp(min=0)
            options["position_ids"] = positions[:, seen:]
        if last_only and _takes(type(self.model), "logits_to_keep"):
            options["logits_to_keep"] = 1
        out = self.model(input_ids=ids, past_key_values=self.cache, use_cache=True, **options)
        return out.logits[:, -1:] if last_only else out.logits

    def fork(self) -> HFSession:
        """A session that has seen the same; what either sees from here, the other does not."""
        other = HFSession(self.model, copy.deepcopy(self.cache), self._chunk)
        other._mask = self._mask
        return other

    def memory_use(self) -> MemoryUse:
        """What the cache holds now, and what an ordinary one would hold."""
        kept, held, ordinary, seen = [], 0, 0, 0
        shares: list[float] = []
        thresholds: list[float] = []
        for layer in self.cache.layers:
            if isinstance(layer, MemoryLayer):
                slab, tokens = layer.remembering.slab, layer.remembering.seen
                kept.append(layer.remembering.kept_tokens())
                held += layer.remembering.nbytes()
                if not layer.remembering.columns:
                    continue
                seen = max(seen, int(tokens.max()))
                shares.append(kept[-1] * len(tokens) / int(tokens.sum()))
                thresholds += _thresholds(layer.remembering)
                slots = slab.length * len(tokens)
                ordinary += slab.nbytes("keys", "values") // slots * int(tokens.sum())
            elif isinstance(layer, MechanismLayer):
                kept.append(float(layer.get_seq_length()))
                held, ordinary = held + layer.nbytes(), ordinary + layer.nbytes()
            elif isinstance(keys := getattr(layer, "keys", None), Tensor):
                values: Tensor = layer.values  # pyright: ignore
                used = keys.numel() * keys.element_size() + values.numel() * values.element_size()
                batch, width = keys.shape[0], keys.shape[-2]
                real = batch * width if self._mask is None else int(self._mask[:, -width:].sum())
                used = used * real // max(batch * width, 1)  # pads are no tokens
                kept.append(real / max(batch, 1))
                held, ordinary = held + used, ordinary + used
        if self._mask is not None:
            seen = int(self._mask.sum(dim=1).max())
        seen = seen or self.cache.get_seq_length()
        share = sum(shares) / len(shares) if shares else None
        return MemoryUse(kept, seen, held, ordinary, share, thresholds or None)

    def forgotten(self, positions: Sequence[int]) -> list[list[int | None]]:
        """Per memory layer, how many tokens had been seen when each token was forgotten.

        Of a memory for each key-value head: when the last head forgot it.
        """
        layers = [it.remembering for it in self.cache.layers if isinstance(it, MemoryLayer)]
        found: list[list[int | None]] = []
        for layer in layers:
            if layer.ledger is None:
                raise RuntimeError("this session notes nothing: open it with ledger=True")
            noted = layer.ledger.last_forgotten_at(layer.heads).tolist()  # of the query; -1: kept
            noted += [-1] * (max(positions, default=-1) + 1 - len(noted))
            found.append([noted[i] + 1 if noted[i] >= 0 else None for i in positions])
        return found


def _thresholds(layer: Remembering) -> list[float]:
    now = layer.rule.now(layer.tokens()) if isinstance(layer.rule, EbbinghausRule) else None
    return [] if now is None else [now]


@functools.cache
def _takes(model: type[PreTrainedModel], argument: str) -> bool:
    return argument in inspect.signature(model.forward).parameters
