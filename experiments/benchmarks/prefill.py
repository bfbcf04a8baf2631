"""Time of reading a prompt, by how much of it rehearses."""

from __future__ import annotations

import random

import torch
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicCache

from experiments.benchmarks.cells import Cell
from experiments.benchmarks.decode import timing
from experiments.benchmarks.models import random_prompt
from memollm.evaluation.clock import Reading
from memollm.hf.attachment import attach
from memollm.memory.ebbinghaus import Memory
from memollm.memory.prefill import PrefillReinforcement

PLAIN, AGAIN = "plain", "again"
EVICTING = "exact, a quarter kept"


def prefill(model: PreTrainedModel, cell: Cell, now: Reading) -> dict:
    """Seconds of each entrant: no memory, and memories that forget nothing but for the last."""
    ids = random_prompt(model, cell.batch, cell.context)
    memories: dict[str, Memory | None] = {PLAIN: None, AGAIN: None}
    for kind in PrefillReinforcement:
        memories[kind.value] = Memory(strength=1e6, layer_fraction=1.0, prefill_reinforcement=kind)
    memories[EVICTING] = Memory(layer_fraction=1.0, threshold="auto", budget=0.25)
    rng = random.Random(cell.id)
    seconds: dict[str, list[float]] = {name: [] for name in memories}
    _read(model, None, ids[:, :256], now)  # what libraries set up on first use
    for _ in range(cell.rounds):
        for name in rng.sample(list(memories), len(memories)):
            seconds[name].append(_read(model, memories[name], ids, now))
    return {"seconds": seconds}


def _read(model: PreTrainedModel, memory: Memory | None, ids: torch.Tensor, now: Reading) -> float:
    if memory is None:
        cache = DynamicCache(config=model.config)
        return timing(now)(lambda: model(ids, past_key_values=cache, logits_to_keep=1))
    with attach(model, memory):
        return timing(now)(lambda: model(ids, logits_to_keep=1))
