"""Scratch models of a few thousand random weights."""

from __future__ import annotations

import functools
from typing import Any

import torch

from memollm.scratch.config import ScratchConfig
from memollm.scratch.mechanisms import cycled
from memollm.scratch.model import ScratchForCausalLM

SETTINGS: dict[str, dict[str, Any]] = {  # so small that 40 tokens show what they do
    "local": {"window_size": 7},
    "block_sparse": {"block_size": 8},
    "nsa": {"block_size": 4, "block_counts": 2, "window_size": 5},
}


@functools.cache
def small_model(*attention: str, layers: int = 2, kv_heads: int = 2) -> ScratchForCausalLM:
    """In float64, with weights large enough that attention is far from uniform."""
    torch.manual_seed(0)
    names = cycled(attention, layers)
    config = ScratchConfig(
        vocab_size=101,
        hidden_size=32,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=kv_heads,
        head_dim=8,
        intermediate_size=48,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        attention=names,
        mechanisms={name: SETTINGS[name] for name in names if name in SETTINGS},
    )
    model = ScratchForCausalLM(config).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8 if parameter.dim() > 1 else 1)
    return model
