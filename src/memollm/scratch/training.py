"""Training a scratch model: the reference model's recipe, on another architecture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from memollm.reference.config import TrainConfig
from memollm.reference.initialise import initialise
from memollm.reference.library import Library
from memollm.reference.marker import claim, fingerprint
from memollm.reference.train import Tracker, token_counts, train
from memollm.scratch.config import ScratchConfig
from memollm.scratch.model import ScratchForCausalLM


@dataclass(frozen=True)
class Attention:
    """The mechanism of each layer, and settings of those that have not their defaults."""

    names: Sequence[str]
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def build_scratch(
    config: TrainConfig, library: Library, attention: Attention
) -> ScratchForCausalLM:
    """A fresh model; draws from torch's global generator."""
    it = config.architecture
    settings = ScratchConfig(
        vocab_size=it.vocabulary,
        hidden_size=it.hidden,
        num_hidden_layers=it.layers,
        num_attention_heads=it.heads,
        num_key_value_heads=it.kv_heads,
        head_dim=it.head_dim,
        intermediate_size=it.feed_forward,
        max_position_embeddings=it.max_positions,
        rope_parameters={"rope_type": "default", "rope_theta": it.rope_theta},
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=1,
        attention=list(attention.names),
        mechanisms={name: dict(given) for name, given in attention.settings.items()},
    )
    model = ScratchForCausalLM(settings)
    if config.circuit:
        initialise(model, it, token_counts(library, config))
    return model


def train_scratch(config: TrainConfig, attention: Attention, tracker: Tracker) -> Path:
    """Train, or go on training, in ``config.output``; the folder of the finished model.

    Raises:
        ValueError: if that folder holds another training.
    """
    claim(Path(config.output), named(config, attention))
    return train(config, tracker, partial(build_scratch, attention=attention))


def named(config: TrainConfig, attention: Attention) -> str:
    """The fingerprint of a training of such a model."""
    return fingerprint(config, {"attention": asdict(attention)})
