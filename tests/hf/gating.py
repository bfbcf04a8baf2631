"""Random gates for tiny models, as a training would leave them."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import PreTrainedModel

from memollm.hf.gates import shape_of, weights_fingerprint, width_of
from memollm.memory.strength.gate import Gate
from memollm.memory.strength.gates_file import NAME, Fit, Gates, save

VARIED = (1.5, 4.0)  # ln of lifetimes: 5 to 55 tokens
EXTREME = (-3e4, 3e4)  # forgotten at once, or never: softplus bounds lifetimes by a token


def write_gates(
    model: PreTrainedModel,
    folder: Path,
    *,
    outputs: int = 1,
    between: tuple[float, float] = VARIED,
    reads: str = "inputs",
    layers: int | None = None,
    weights: str | None = None,
) -> str:
    """Gates whose lifetimes differ from token to token; the folder, as ``strength.weights``."""
    width = width_of(model) if reads == "inputs" else _key_width(model)
    shape = shape_of(model)
    generator = torch.Generator().manual_seed(1)
    gates = {}
    for layer in range(shape["layers"] if layers is None else layers):
        gate = Gate(width, 8, outputs, lifetime=2.0)
        with torch.no_grad():
            assert gate.inner is not None
            gate.inner.weight.copy_(torch.randn(8, width, generator=generator) / width**0.5)
            gate.outer.weight.copy_(torch.randn(outputs, 8, generator=generator))
            low, high = between
            gate.outer.weight.mul_((high - low) / 2)
            gate.outer.bias.fill_((low + high) / 2)
        gates[layer] = gate
    fit = Fit(reads, "tiny", weights or weights_fingerprint(model), width, **shape)
    save(Gates(fit, gates), folder / NAME)
    return str(folder)


def _key_width(model: PreTrainedModel) -> int:
    config = model.config
    dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return shape_of(model)["kv_heads"] * dim
