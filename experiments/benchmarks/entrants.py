"""Who runs: baselines and memories, each a cache that was filled to a context.

Three baselines. ``default`` is what ``generate`` uses, a ``DynamicCache``. ``static`` is the
fastest cache that Transformers has on a CPU, a ``StaticCache``. ``pruned`` is what a prompt
compressed by kvpress leaves: a ``DynamicCache`` with fewer tokens and explicit positions.

Contexts are filled with random keys and values, since the time of a step does not depend on them;
what a memory then forgets is drawn at random, too, and evicted by the memory itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache, StaticCache

from memollm.hf.attachment import attach
from memollm.hf.layer import MemoryLayer
from memollm.memory.ebbinghaus import Memory
from memollm.memory.kernel import Kernel

DEFAULT, AGAIN, STATIC = "default", "again", "static"
ALL, HALF = "all", "half"
SHARES = (1.0, 0.5, 0.1)  # of the tokens that are kept
UNCOMPILED = (1.0, 0.1)  # those that are measured without the compiled kernel, too


def pruned(share: float) -> str:
    """The name of a kvpress-style cache."""
    return f"pruned_{share:g}"


def memory_name(share: float, layers: str, kernel: Kernel = Kernel.auto) -> str:
    """The name of a memory that has kept ``share`` of the context, in all layers or half."""
    return f"memory_{share:g}_{layers}" + ("_torch" if kernel is Kernel.torch else "")


@dataclass
class Entrant:
    """One cache, and how to decode a token with it."""

    model: PreTrainedModel
    cache: Cache
    context: int  # tokens that count, forgotten ones included
    memory: Memory | None = None
    restore: bool = False  # whether a step leaves no trace, so that several may share the cache

    @property
    def _layers(self) -> list[Any]:  # all of them have keys and values, or are memory layers
        return self.cache.layers

    def ready(self) -> AbstractContextManager[Any]:
        """What is not part of a step: attaching the memory."""
        return nullcontext() if self.memory is None else attach(self.model, self.memory)

    def step(self, ids: Tensor) -> Tensor:
        """Logits of one more token in every row."""
        position = torch.full_like(ids, self.context)
        out = self.model(ids, past_key_values=self.cache, position_ids=position, use_cache=True)
        return out.logits

    def decode(self, ids: Tensor, timed: Callable[[Callable[[], Any]], float]) -> float:
        """Seconds of one token."""
        held = [(it.keys, it.values) for it in self._layers] if self.restore else []
        with self.ready():
            seconds = timed(lambda: self.step(ids)[:, -1].argmax(dim=-1).tolist())
        for layer, (keys, values) in zip(self._layers, held, strict=False):
            layer.keys, layer.values = keys, values
        self.context += not self.restore
        return seconds

    def kv_bytes(self) -> int:
        """Bytes that a step reads of the cache: keys, values and the memory's state."""
        total = 0
        for layer in self._layers:
            if isinstance(layer, MemoryLayer):
                total += layer.remembering.nbytes()
                continue
            used = min(self.context / layer.keys.shape[2], 1)  # a static cache has room left
            total += int(used * (layer.keys.nbytes + layer.values.nbytes))
        return total


def entrants(
    model: PreTrainedModel, context: int, batch: int, room: int, names: Collection[str] = ()
) -> dict[str, Entrant]:
    """Every entrant of one context, or those of ``names``; ``room`` tokens can be decoded."""
    config: Any = model.config.get_text_config(decoder=True)
    heads = config.num_key_value_heads
    dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    pair = [torch.randn(batch, heads, context, dim).to(model.dtype) for _ in range(2)]

    def dynamic(share: float) -> Cache:
        cache = DynamicCache(config=config)
        for index in range(config.num_hidden_layers):
            keys, values = (it[:, :, : round(share * context)] for it in pair)
            cache.update(keys, values, index)
        return cache

    def fixed() -> Cache:
        cache = StaticCache(config=config, max_cache_len=context + room)
        for index in range(config.num_hidden_layers):
            cache.update(pair[0], pair[1], index)
        return cache

    def wanted(name: str) -> bool:
        return not names or name in names

    plain = dynamic(1.0)
    found = {
        name: Entrant(model, plain, context, restore=True)
        for name in filter(wanted, (DEFAULT, AGAIN))
    }
    if wanted(STATIC):
        found[STATIC] = Entrant(model, fixed(), context)
    for share in SHARES[1:]:
        if wanted(pruned(share)):
            found[pruned(share)] = Entrant(model, dynamic(share), context, restore=True)
    chosen = [(share, layers, Kernel.auto) for layers in (ALL, HALF) for share in SHARES]
    chosen += [(share, ALL, Kernel.torch) for share in UNCOMPILED]
    for share, layers, kernel in chosen:
        if not wanted(memory_name(share, layers, kernel)):
            continue
        # So strong that nothing more dies while a step is timed.
        fraction = 1.0 if layers == ALL else 0.5
        memory = Memory(strength=1e6, layer_fraction=fraction, kernel=kernel)
        cache = _remembered(model, memory, pair, share)
        found[memory_name(share, layers, kernel)] = Entrant(model, cache, context, memory)
    return found


def _remembered(model: PreTrainedModel, memory: Memory, pair: list[Tensor], share: float) -> Cache:
    with attach(model, memory) as attachment:
        assert attachment is not None
        cache = attachment.new_cache()
    batch, context = pair[0].shape[0], pair[0].shape[2]
    for index, layer in enumerate(cache.layers):
        if not isinstance(layer, MemoryLayer):
            cache.update(pair[0], pair[1], index)
            continue
        layer.remembering.store.append(*pair)
        gone = torch.ones(context, dtype=torch.bool)
        gone[torch.randperm(context)[: round(share * context)]] = False
        layer.remembering.forget(gone.expand(batch, context))
        layer.remembering.evict()
    return cache
