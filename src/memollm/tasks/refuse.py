"""What trainings refuse alike, before anything is loaded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from memollm.registry import refusal

SIZES = ("vocabulary", "hidden", "layers", "heads", "kv_heads", "head_dim", "feed_forward")
CIRCUIT = {"heads": 4, "kv_heads": 2, "head_dim": 64}  # what the hand-made circuit is built for
CIRCUIT_LEAST = {"layers": 3, "hidden": 192}
# New dimensions and neurons for what links.py builds when the model grows, and origins.py later.
LINKS = {"hidden": 52, "feed_forward": 52}


def require(name: str, value: object, allowed: bool, condition: str) -> None:
    """Raises ValueError unless ``allowed``: the key, the value and what it must be."""
    if not allowed:
        raise ValueError(f"{name}={value} is not allowed, it must be {condition}")


def require_architecture(key: str, it: Any) -> None:
    """Sizes of a model that can be; ``it`` has them under ``key`` (``reference.Architecture``)."""
    for name in SIZES:
        require(f"{key}.{name}", getattr(it, name), getattr(it, name) >= 1, ">= 1")
    groups = it.heads % it.kv_heads == 0
    require(f"{key}.heads", it.heads, groups, f"a multiple of kv_heads={it.kv_heads}")


def require_circuit(key: str, it: Any, chosen: str) -> None:
    """Sizes that the hand-made circuit fits, which the setting ``chosen`` asks for."""
    for name, value in CIRCUIT.items():
        found = getattr(it, name)
        require(f"{key}.{name}", found, found == value, f"{value} with {chosen}")
    for name, least in CIRCUIT_LEAST.items():
        found = getattr(it, name)
        require(f"{key}.{name}", found, found >= least, f">= {least} with {chosen}")


def require_sources(sources: Sequence[str], shares: Sequence[float] = ()) -> None:
    """Of ``task.sources``, as ``reference.corpus.documents`` reads them, and their shares."""
    if not sources:
        raise ValueError(
            "task.sources=[] is not allowed, there is nothing to train on: give text files, "
            "folders, archives, docstrings (of Python's library), or datasets:<name>"
        )
    for source in sources:
        named = source == "docstrings" or source.startswith("datasets:")
        if not named and not Path(source).expanduser().exists():
            raise ValueError(
                f"task.sources={source} is not allowed: there is no such file or folder; "
                "or give docstrings, or datasets:<name>"
            )
    require_shares("task.shares", shares, sources)


def require_shares(key: str, shares: Sequence[float], sources: Sequence[str]) -> None:
    """One share a source, or none at all."""
    fits = len(shares) == len(sources) and min(shares) >= 0 and sum(shares) > 0
    require(key, list(shares), not shares or fits,
            f"one share >= 0 for each of {len(sources)} sources")  # fmt: skip


def require_growth(training: Any) -> None:
    """Sizes that the model can grow to; with the circuit, room for the one that follows links."""
    old = training.architecture
    for name, new in LINKS.items():
        size = getattr(old, name) + (new if training.circuit else 0)
        found = getattr(training, f"grown_{name}")
        require(f"task.grown_{name}", found, found >= size,
                f">= {size}, or task.grown=[]")  # fmt: skip


def require_beginning(training: Any) -> None:
    """A model to begin with, of the sizes that its phase begins with."""
    names = [phase.name for phase in training.phases]
    if training.from_phase not in names:
        raise refusal("task.from_phase", training.from_phase, names)
    folder = Path(training.from_model)
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        there = bool(training.from_model) and (folder / name).is_file()
        require("task.from_model", training.from_model, there, f"a folder with {name}")
    it = training.architecture
    sizes = {"vocab_size": it.vocabulary, "num_hidden_layers": it.layers}
    sizes |= {"num_attention_heads": it.heads, "num_key_value_heads": it.kv_heads}
    wide = training.grown and names.index("grown") < names.index(training.from_phase)
    sizes |= {
        "head_dim": it.head_dim,
        "hidden_size": training.grown_hidden if wide else it.hidden,
        "intermediate_size": training.grown_feed_forward if wide else it.feed_forward,
    }
    found = json.loads((folder / "config.json").read_text())
    for name, size in sizes.items():
        require("task.from_model", training.from_model, found.get(name) == size,
                f"a model of {name} {size} to begin {training.from_phase}, "
                f"not of {found.get(name)}")  # fmt: skip
