"""What reading a gate costs: decoding with learned strength beside constant strength.

    python experiments/007_learned_strength/decode.py [pairs of rounds]

Both decode in turns, in short rounds of one thread's processor time, so that whatever else the
machine does falls on both. Told are the ratio of the quickest rounds, which were disturbed least,
and the quartiles of the rounds' ratios. Bytes are those that the memory adds to keys and values,
for each token and layer.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from memollm.hf.attachment import attach
from memollm.hf.gates import shape_of, weights_fingerprint, width_of
from memollm.hf.models import RandomModel, ReferenceModel
from memollm.memory.ebbinghaus import Memory
from memollm.memory.strength.base import Strength
from memollm.memory.strength.constant import Constant
from memollm.memory.strength.gate import Gate
from memollm.memory.strength.gates_file import NAME, Fit, Gates, save
from memollm.memory.strength.learned import Learned

CONTEXT, BUDGET, STEPS = 1024, 512, 16
WIDE = {  # Qwen2.5-0.5B's layers
    "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 4, "vocab_size": 8192,
    "num_attention_heads": 14, "num_key_value_heads": 2, "max_position_embeddings": 4096,
}  # fmt: skip


def gates_for(model: Any, folder: Path) -> str:
    """Gates of the default size, as they begin: what they say costs no more or less."""
    shape = shape_of(model)
    layers = {layer: Gate(width_of(model), 32, 1, 1e4) for layer in range(shape["layers"])}
    fit = Fit("inputs", "any", weights_fingerprint(model), width_of(model), **shape)
    save(Gates(fit, layers), folder / NAME)
    return str(folder)


def prefilled(model: Any, birth: Strength) -> tuple[Memory, Any]:
    """A memory, and a cache that has read the context under it."""
    memory = Memory(birth=birth, budget=BUDGET, layer_fraction=1.0)
    with attach(model, memory) as attachment:
        assert attachment is not None
        cache = attachment.new_cache()
        ids = torch.arange(CONTEXT)[None] % 1000 + 2
        for part in ids.split(256, dim=1):
            model(part, past_key_values=cache, logits_to_keep=1)
    return memory, cache


def seconds(model: Any, memory: Memory, cache: Any) -> float:
    """Of ``STEPS`` decoded tokens."""
    token = torch.tensor([[7]])
    with attach(model, memory):
        model(token, past_key_values=cache)
        begun = time.process_time()
        for _ in range(STEPS):
            model(token, past_key_values=cache)
        return time.process_time() - begun


def measure(name: str, model: Any, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        memories = {
            "learned": prefilled(model, Learned(gates_for(model, Path(folder)))),
            "constant": prefilled(model, Constant()),
        }
        rounds_of: dict[str, list[float]] = {name: [] for name in memories}
        for number in range(rounds):
            for which in sorted(memories, reverse=number % 2 == 0):
                rounds_of[which].append(seconds(model, *memories[which]))
        ratios = np.divide(rounds_of["learned"], rounds_of["constant"])
        slab = memories["learned"][1].layers[0].remembering.slab
    extra = (slab.nbytes() - slab.nbytes("keys", "values")) / slab.length
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    quickest = {which: min(those) for which, those in rounds_of.items()}
    step = 1e3 * quickest["constant"] / STEPS
    print(
        f"{name}: {quickest['learned'] / quickest['constant']:.3f}; {middle:.3f} "
        f"({low:.3f}..{high:.3f}) of a step of {step:.2f} ms; {extra:.0f} bytes a token and layer"
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    measure("reference", ReferenceModel().load().model, rounds)
    wide = RandomModel(model_type="qwen2", settings=WIDE).load().model
    measure("4 layers of Qwen2.5-0.5B's shape, random weights", wide, rounds)
