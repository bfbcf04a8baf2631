"""Where the time of a decoded token goes: by part of the model, for a cache and for a memory."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from transformers import PreTrainedModel

from experiments.benchmarks.cells import Cell
from experiments.benchmarks.decode import WARM_UP, timing
from experiments.benchmarks.entrants import ALL, DEFAULT, entrants, memory_name
from memollm.evaluation.clock import Reading

PROFILED = (DEFAULT, memory_name(1.0, ALL), memory_name(0.1, ALL))
ATTENTION = "rotation, cache, attention, memory"  # what an attention layer does beside products
REST = "the rest"
PARTS = {  # the last part of a module's name -> what it is; Llama's names, and those like them
    "q_proj": "attention's products", "k_proj": "attention's products",
    "v_proj": "attention's products", "o_proj": "attention's products",
    "mlp": "feed-forward", "lm_head": "head over the vocabulary", "self_attn": ATTENTION,
    "input_layernorm": "norms", "post_attention_layernorm": "norms", "norm": "norms",
}  # fmt: skip


def profile(model: PreTrainedModel, cell: Cell, now: Reading) -> dict:
    """Seconds of each part of a step, medians over turns, by entrant.

    The clocks of the parts themselves take about a hundredth of a step.
    """
    runners = entrants(model, cell.context, cell.batch, cell.rounds + WARM_UP, PROFILED)
    ids = torch.full((cell.batch, 1), 17)
    found: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in runners}
    for turn in range(-WARM_UP, cell.rounds):
        for name, runner in runners.items():
            with _clocks(model, now) as spent:
                total = runner.decode(ids, timing(now))
            if turn < 0:
                continue
            spent[ATTENTION] -= spent["attention's products"]  # they lie within
            spent[REST] = total - sum(spent.values())
            for part, seconds in spent.items():
                found[name][part].append(seconds)
    return {
        "parts": {
            name: {part: statistics.median(it) for part, it in parts.items()}
            for name, parts in found.items()
        }
    }


@contextmanager
def _clocks(model: nn.Module, now: Reading) -> Iterator[dict[str, float]]:
    """Seconds by part of all forward passes within."""
    spent: dict[str, float] = defaultdict(float)
    began: dict[nn.Module, float] = {}
    hooks = []

    def watch(module: nn.Module, part: str) -> None:
        def before(*_: object) -> None:
            began[module] = now()

        def after(*_: object) -> None:
            spent[part] += now() - began[module]

        hooks.append(module.register_forward_pre_hook(before))
        hooks.append(module.register_forward_hook(after))

    for name, module in model.named_modules():
        part = PARTS.get(name.rpartition(".")[2])
        if part is not None:
            watch(module, part)
    try:
        yield spent
    finally:
        for hook in hooks:
            hook.remove()
