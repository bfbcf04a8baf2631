"""Gates in a file: safetensors with the tensors of each layer, and in its header what they fit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from memollm.memory.strength.gate import Gate

FORMAT = "memollm strength gates, 1"
NAME = "gates.safetensors"


@dataclass(frozen=True)
class Fit:
    """What gates read, and which model they were trained for."""

    reads: str  # "inputs" or "keys"
    model: str  # its name
    weights: str  # fingerprint of its weights; see hf.gating
    width: int  # of what they read
    layers: int  # of the model
    kv_heads: int


@dataclass(frozen=True)
class Gates:
    """The gates of a model, by layer, and what they fit."""

    fit: Fit
    layers: Mapping[int, Gate]


def save(gates: Gates, path: Path) -> None:
    """Write in half the size of float32: bfloat16 would round lifetimes by up to 4 %."""
    tensors = {
        f"{layer}.{name}": tensor.to(torch.float16).contiguous()
        for layer, gate in gates.layers.items()
        for name, tensor in gate.state_dict().items()
    }
    header = {"format": FORMAT, "fit": json.dumps(asdict(gates.fit))}
    unfinished = path.with_suffix(".unfinished")
    save_file(tensors, unfinished, metadata=header)
    unfinished.replace(path)


def read_fit(path: Path) -> Fit:
    """What the gates of a file fit, from its header alone.

    Raises:
        ValueError: if it is no file of gates.
    """
    try:
        with safe_open(path, framework="pt") as opened:
            header = opened.metadata() or {}
    except Exception as error:  # safetensors raises its own, without a common base
        raise ValueError(f"strength.weights: {path} cannot be read: {error}") from error
    if header.get("format") != FORMAT:
        raise ValueError(
            f"strength.weights: {path} holds no gates (its header says "
            f"{header.get('format')!r}, not {FORMAT!r})"
        )
    return Fit(**json.loads(header["fit"]))


def load(path: Path) -> Gates:
    """The gates of a file, in float32, frozen.

    Raises:
        ValueError: if it is no file of gates.
    """
    fit = read_fit(path)
    states: dict[int, dict[str, torch.Tensor]] = {}
    with safe_open(path, framework="pt") as opened:
        for key in opened.keys():  # noqa: SIM118 - not a mapping
            layer, name = key.split(".", 1)
            states.setdefault(int(layer), {})[name] = opened.get_tensor(key).float()
    layers = {}
    for layer, state in sorted(states.items()):
        hidden = state["inner.bias"].shape[0] if "inner.bias" in state else 0
        gate = Gate(fit.width, hidden, state["outer.bias"].shape[0], lifetime=2.0)
        gate.load_state_dict(state)
        layers[layer] = gate.requires_grad_(False).eval()
    return Gates(fit, layers)
