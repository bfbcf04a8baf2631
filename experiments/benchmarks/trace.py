"""End to end with ``generate()``: what dies, dies by the memory's own dynamics."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import torch
from transformers import PreTrainedModel
from transformers.cache_utils import Cache
from transformers.generation.streamers import BaseStreamer

from experiments.benchmarks.cells import Cell
from experiments.benchmarks.decode import timing
from experiments.benchmarks.models import random_prompt
from memollm.evaluation.clock import Reading
from memollm.hf.attachment import attach
from memollm.hf.layer import MemoryLayer
from memollm.memory.ebbinghaus import Memory

NEW = 48  # tokens that follow a long prompt
BUDGET = 1024  # tokens kept in a long generation
BIN = 512  # tokens between two readings of it
LONGEST_PLAIN = 16384  # tokens up to which the model without memory runs along


def after_prompt(model: PreTrainedModel, cell: Cell, now: Reading) -> dict:
    """Seconds of ``generate`` after a prompt of ``context`` tokens, read in chunks."""
    ids = random_prompt(model, cell.batch, cell.context)
    half = Memory(layer_fraction=0.5, threshold="auto", budget=0.1)
    whole = Memory(layer_fraction=1.0, threshold="auto", budget=0.1)
    fading = Memory(layer_fraction=1.0)  # every number at its default
    memories = {"default": None, "budget_0.1_half": half, "budget_0.1_all": whole, "fading": fading}
    seconds, kept = {}, {}
    for name, memory in memories.items():
        with attach(model, memory) if memory else nullcontext() as attachment:
            seconds[name] = [timing(now)(lambda: _generate(model, ids, NEW))]
            if attachment is not None and attachment.cache is not None:
                layers = attachment.memory_layers(attachment.cache)
                kept[name] = [it.remembering.kept_tokens() for it in layers]
    return {"seconds": seconds, "kept_tokens": kept, "new_tokens": NEW}


def long_generation(model: PreTrainedModel, cell: Cell, now: Reading) -> dict:
    """Seconds and cached bytes per token, bin by bin, of ``context`` generated tokens."""
    bins: dict[str, list[dict]] = {}
    memory = Memory(layer_fraction=1.0, threshold="auto", budget=BUDGET)
    for name, chosen, tokens in (
        ("budget", memory, cell.context),
        ("default", None, min(cell.context, LONGEST_PLAIN)),
    ):
        with attach(model, chosen) if chosen else nullcontext() as attachment:
            watch = Watch(now, lambda: _held(attachment.cache) if attachment else None)
            _generate(model, torch.full((cell.batch, 8), 5), tokens, watch)
            bins[name] = watch.bins
    return {"bins": bins, "budget": BUDGET}


class Watch(BaseStreamer):
    """Notes, every ``BIN`` generated tokens, the seconds they took and the bytes cached."""

    def __init__(self, now: Reading, held: Callable[[], int | None]) -> None:
        self._now, self._held = now, held
        self._count, self._began = 0, now()
        self.bins: list[dict] = []

    def put(self, value: torch.Tensor) -> None:
        self._count += 1
        if self._count % BIN == 1 and self._count > 1:
            ended = self._now()
            self.bins.append({
                "tokens": self._count - 1,
                "seconds_per_token": (ended - self._began) / BIN,
                "kv_bytes": self._held(),
            })  # fmt: skip
            self._began = self._now()

    def end(self) -> None:
        """Nothing is left to do."""


def _held(cache: Cache | None) -> int:
    return sum(
        it.remembering.nbytes()
        for it in getattr(cache, "layers", ())
        if isinstance(it, MemoryLayer)
    )


def _generate(
    model: PreTrainedModel, ids: torch.Tensor, new: int, streamer: BaseStreamer | None = None
) -> None:
    model.generate(  # pyright: ignore[reportCallIssue] - a module's attributes may be tensors
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=new,
        do_sample=False, eos_token_id=None, pad_token_id=0, streamer=streamer,
    )  # fmt: skip
