"""Attaching a memory to a model: for as long as a ``with`` block lasts.

    with attach(model, Memory(threshold=0.05)):
        model.generate(**inputs)

While it lasts, every cache the model is given or makes gets memory layers before its first token.
Nothing of the model's code is replaced: a hook looks at each forward pass before it begins and
after it ended, the attention implementation is set by its name, and ``generate`` is handed a cache
that has memory layers from the start (assisted decoding tells a cache what it is for before the
first forward pass). All is undone at the end.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from memollm.cache.ledger import Ledger
from memollm.hf import attention, surprise
from memollm.hf.families import UnsupportedModelError, memory_layers
from memollm.hf.gates import sources
from memollm.hf.inputs import watching_inputs
from memollm.hf.layer import MemoryLayer
from memollm.hf.remembering import Remembering
from memollm.hf.rules import rules
from memollm.hf.slab_layer import SlabLayer
from memollm.memory.aggregation import Council
from memollm.memory.ebbinghaus import Aggregation, Memory
from memollm.memory.kernel import Kernel
from memollm.memory.strength.base import Reads
from memollm.modes.base import Mode
from memollm.modes.sparse_attention import SparseAttention

ATTACHED = "memollm_attachment"  # attribute of a model that has a memory now
ASSISTED = ("assistant_model", "prompt_lookup_num_tokens", "assistant_early_exit")  # of generate


@contextmanager
def attach(
    model: PreTrainedModel,
    memory: Memory | None = None,
    mode: Mode | None = None,
    *,
    ledger: bool = False,
) -> Iterator[Attachment | None]:
    """Give ``model`` a memory inside the block.

    Gradients are off inside: what is forgotten has none.

    Args:
        model: any causal language model that routes attention through Transformers' interface.
        memory: default ``Memory()``.
        mode: default ``SparseAttention()``; ``Baseline()`` leaves the model wholly alone.
        ledger: whether layers note what was known of tokens they forgot.

    Raises:
        UnsupportedModelError: if the model cannot honour a memory.
        ValueError: if the mode cannot.
        RuntimeError: if it has one already.
    """
    mode = SparseAttention() if mode is None else mode
    if ATTACHED in model.__dict__:
        raise RuntimeError(
            f"this {type(model).__name__} has a memory attached already, and can have one at a "
            "time: leave that block first"
        )
    if not mode.has_memory:
        yield None
        return
    memory = Memory() if memory is None else memory
    mode.check(memory)
    attachment = Attachment(model, memory, mode, ledger)
    before = model.config._attn_implementation
    chunk = model.generation_config.prefill_chunk_size if model.generation_config else None
    own_generate = model.__dict__.get("generate")  # somebody else's
    attention.register()
    hooks = [
        model.register_forward_pre_hook(attachment.before, with_kwargs=True),
        model.register_forward_hook(attachment.after, with_kwargs=True),
    ]
    model.__dict__[ATTACHED] = attachment
    watching = ExitStack()
    if attachment.reads is Reads.inputs:
        watching.enter_context(watching_inputs(model, attachment.layers))
    try:
        model.set_attn_implementation(attention.NAME)
        model.__dict__["generate"] = attachment.generating(model.generate)  # pyright: ignore
        if attachment.by_chunk and model.generation_config:
            model.generation_config.prefill_chunk_size = attachment.memory.prefill_chunk
        with torch.no_grad():
            yield attachment
    finally:
        for hook in hooks:
            hook.remove()
        watching.close()
        attachment.close()
        del model.__dict__[ATTACHED]
        model.__dict__.pop("generate", None)
        if own_generate is not None:
            model.__dict__["generate"] = own_generate
        if model.generation_config:
            model.generation_config.prefill_chunk_size = chunk
        model.set_attn_implementation(before or "eager")


class Attachment:
    """What ``attach`` put on a model."""

    def __init__(self, model: PreTrainedModel, memory: Memory, mode: Mode, ledger: bool) -> None:
        self.memory, self.mode, self.ledger = memory, mode, ledger
        self.layers = memory_layers(type(model), model.config, memory)
        fades = memory.policy.fades and mode.forgets
        self.reads = memory.birth.reads if fades else Reads.nothing  # what strengths depend on
        born = sources(model, memory, self.layers) if fades else [None] * len(self.layers)
        self._rules = rules(memory, mode, born)
        # Whether what is decided after a chunk needs all layers, so that a pass can hold one.
        self.by_chunk = memory.aggregation == Aggregation.vote or self.reads is Reads.surprisal
        self._config = model.config.get_text_config(decoder=True)
        self._generation_config = model.generation_config
        self._signature = inspect.signature(model.forward)
        self._rest = next(  # what forward calls its **kwargs
            (name for name, it in self._signature.parameters.items() if it.kind == it.VAR_KEYWORD),
            "",
        )
        self.cache: Cache | None = None  # of the last forward pass
        self._pass: surprise.Pass | None = None  # the one under way, if its surprisal is wanted

    def new_cache(self) -> Cache:
        """An empty cache with memory layers, for ``past_key_values``."""
        cache = DynamicCache(config=self._config)
        self._convert(cache)
        return cache

    def before(
        self, model: PreTrainedModel, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Before a forward pass: see to its cache, and tell the layers what they cannot see."""
        call = self._signature.bind_partial(*args, **kwargs).arguments
        call = {**call, **call.pop(self._rest, {})}
        _refuse(call)
        call["past_key_values"] = self.cache = cache = self._remembering(
            call.get("past_key_values")
        )
        ids = call.get("input_ids")
        tokens: torch.Tensor = call["inputs_embeds"] if ids is None else ids
        valid = _valid(call.get("attention_mask"), tokens.shape[1])
        for layer in self.memory_layers(cache):
            layer.valid = valid
            layer.candidates = _candidates(call, layer, tokens.shape[1])
            layer.calls, layer.attached = 0, True
        if self.reads is Reads.surprisal:
            guesses = max(layer.candidates for layer in self.memory_layers(cache))
            self._pass = surprise.begin(call, valid, self.memory.prefill_chunk, guesses)
        return (), call

    def after(self, model: PreTrainedModel, args: tuple, kwargs: dict, output: Any) -> Any:
        """After a forward pass: make sure that every memory layer took part in it."""
        assert self.cache is not None
        silent = [i for i in self.layers if not getattr(self.cache.layers[i], "calls", 0)]
        self.close()
        if silent:
            raise UnsupportedModelError(
                f"{type(model).__name__}: layers {silent} did not pass the keys that their cache "
                "gave them to Transformers' attention interface; the memory had no effect there"
            )
        if self._pass is not None:
            layers = self.memory_layers(self.cache)
            output.logits = surprise.finish(self._pass, output.logits, layers)
            self._pass = None
        return output

    def close(self) -> None:
        """Let the cache be used no more, until the next forward pass under a memory."""
        for layer in self.memory_layers(self.cache):
            layer.attached = False

    def generating(self, generate: Callable[..., Any]) -> Callable[..., Any]:
        """``generate`` with a cache of ours, where the caller brings none."""

        @functools.wraps(generate)
        def with_memory(*args: Any, **kwargs: Any) -> Any:
            config = kwargs.get("generation_config") or self._generation_config
            for key in ("cache_implementation", "use_cache"):
                given = kwargs.get(key, getattr(config, key, None))
                if given not in (None, True, "dynamic"):
                    raise ValueError(
                        f"{key}={given!r} is not supported under a memory: leave it out"
                    )
            cache = self._remembering(kwargs.get("past_key_values"))
            if ATTACHED in getattr(kwargs.get("assistant_model"), "__dict__", {}):
                raise ValueError(
                    "assistant_model has a memory attached: drafts are taken back further than a "
                    "memory can go; pass a model without one, or a copy"
                )
            if cache.get_seq_length() and any(
                kwargs.get(key, getattr(config, key, None)) for key in ASSISTED
            ):
                raise ValueError(
                    "assisted decoding needs an empty cache: Transformers would feed it all of the "
                    f"{cache.get_seq_length()} tokens in past_key_values a second time"
                )
            return generate(*args, **{**kwargs, "past_key_values": cache})

        return with_memory

    def _remembering(self, cache: Cache | None) -> Cache:
        """The cache that was given, or a new one, with memory layers of this memory."""
        if cache is None:
            return self.new_cache()
        layers = self.memory_layers(cache)
        if not layers:
            self._convert(cache)
        for layer in layers:
            theirs = layer.remembering
            if (theirs.memory, theirs.mode) != (self.memory, self.mode):
                raise ValueError(
                    "past_key_values was filled under another memory or mode "
                    f"({theirs.memory}, {theirs.mode}): start from an empty cache"
                )
        return cache

    def memory_layers(self, cache: Cache | None) -> list[MemoryLayer]:
        """The memory layers of a cache, first to last."""
        return [layer for layer in getattr(cache, "layers", ()) if isinstance(layer, MemoryLayer)]

    def _convert(self, cache: Cache) -> None:
        """Put memory layers in place of a fresh cache's plain ones, and slabs under the rest."""
        if not isinstance(cache, DynamicCache) or cache.offloading:
            raise ValueError(
                f"a memory needs a DynamicCache that is not offloaded, but past_key_values is a "
                f"{type(cache).__name__}; leave cache_implementation at its default"
            )
        if cache.get_seq_length():
            raise ValueError(
                f"past_key_values already holds {cache.get_seq_length()} tokens that no memory "
                "saw; start "
                "from an empty cache, or from one that was filled under the memory"
            )
        if not cache.layers:
            cache.layers = DynamicCache(config=self._config).layers
        council = None
        if self.memory.aggregation == Aggregation.vote:
            council = Council(self.memory.share)
        for number, (index, rule) in enumerate(zip(self.layers, self._rules, strict=True)):
            plain = cache.layers[index]
            if type(plain) is not DynamicLayer:
                raise ValueError(
                    f"layer {index} of past_key_values is a {type(plain).__name__}, not a "
                    "DynamicLayer"
                )
            notes = Ledger() if self.ledger else None
            remembering = Remembering(self.memory, self.mode, rule, number, council, notes)
            if council is not None:
                council.members.append(remembering)
            cache.layers[index] = MemoryLayer(remembering)
        for index, plain in enumerate(cache.layers):
            if type(plain) is DynamicLayer:
                cache.layers[index] = SlabLayer(self.memory.kernel is not Kernel.torch)


def _refuse(call: dict[str, Any]) -> None:
    """Refuse what a forward pass under a memory would otherwise ignore."""
    if call.get("use_cache") is False:
        raise ValueError("use_cache=False is not supported under a memory: it lives in a cache")
    positions = call.get("position_ids")
    alone = call.get("attention_mask") is None and call.get("past_key_values") is None
    if alone and positions is not None and bool((positions.diff(dim=-1) < 0).any()):
        raise ValueError(
            "position_ids that begin anew (packed sequences) are not supported under a memory: "
            "pass the sequences as rows of a batch"
        )


def _valid(mask: Any, count: int) -> torch.Tensor | None:
    """Which of the new tokens are no pads."""
    if mask is None:
        return None
    if not isinstance(mask, torch.Tensor) or mask.dim() != 2:
        kind = f"{mask.dim()} dimensions" if isinstance(mask, torch.Tensor) else type(mask).__name__
        raise ValueError(
            f"an attention_mask of {kind} is not supported under a memory: pass the "
            "2-dimensional padding mask (batch, tokens)"
        )
    return mask[:, -count:].bool()


def _candidates(call: dict[str, Any], layer: MemoryLayer, count: int) -> int:
    """How many of the new tokens are guesses of assisted decoding, which may be taken back."""
    if not layer.record_past:
        return 0
    keep = call.get("logits_to_keep")
    if isinstance(keep, int) and keep > 0:
        return keep - 1
    if layer.get_seq_length():
        return count - 1
    raise ValueError(
        "assisted decoding under a memory needs a model whose forward takes logits_to_keep: "
        "without it "
        "the prompt cannot be told from the candidates"
    )
