"""The models that are timed: random weights of a real architecture, made when first needed."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Int
from omegaconf import OmegaConf
from torch import Tensor
from transformers import PreTrainedModel

from memollm.hf.models import RandomModel

CONF = Path(__file__).parents[2] / "conf" / "model"
SMALL = {  # for generations of many thousand tokens
    "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 512,
    "max_position_embeddings": 131072, "tie_word_embeddings": True,
}  # fmt: skip


def architecture(name: str, dtype: str, layers: int | None = None) -> PreTrainedModel:
    """The model of conf/model/<name>.yaml; ``layers`` of it where time is the same in each."""
    given = OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"))
    assert isinstance(given, dict)
    settings = {**given["settings"], "max_position_embeddings": 131072}
    if layers is not None:
        settings["num_hidden_layers"] = layers
    return _random(given["model_type"], settings, dtype)


def small(dtype: str) -> PreTrainedModel:
    """A model of 0.4 million parameters."""
    return _random("qwen2", SMALL, dtype)


def random_prompt(model: PreTrainedModel, batch: int, tokens: int) -> Int[Tensor, "batch tokens"]:
    """The same tokens whenever it is asked."""
    vocabulary: int = model.config.get_text_config(decoder=True).vocab_size
    generator = torch.Generator().manual_seed(0)
    return torch.randint(3, vocabulary, (batch, tokens), generator=generator)


def _random(model_type: str, settings: dict, dtype: str) -> PreTrainedModel:
    return (
        RandomModel(model_type=model_type, settings=settings, dtype=dtype, device="cpu")
        .load()
        .model
    )
