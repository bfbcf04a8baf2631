"""The model: a small Qwen2, and a forward pass that can jump in position."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import Qwen2Config, Qwen2ForCausalLM

from memollm.reference.config import Architecture
from memollm.reference.initialise import initialise


def build_model(architecture: Architecture, counts: Tensor, circuit: bool) -> Qwen2ForCausalLM:
    """A fresh model; draws from torch's global generator."""
    config = Qwen2Config(
        vocab_size=architecture.vocabulary,
        hidden_size=architecture.hidden,
        num_hidden_layers=architecture.layers,
        num_attention_heads=architecture.heads,
        num_key_value_heads=architecture.kv_heads,
        head_dim=architecture.head_dim,  # pyright: ignore[reportCallIssue]
        intermediate_size=architecture.feed_forward,
        max_position_embeddings=architecture.max_positions,
        rope_parameters={"rope_type": "default", "rope_theta": architecture.rope_theta},
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=1,
    )
    model = Qwen2ForCausalLM(config)
    if circuit:
        initialise(model, architecture, counts)
    return model


def hidden_states(model: Qwen2ForCausalLM, tokens: Tensor, positions: Tensor) -> Tensor:
    """Final hidden states (sequences, length, hidden), causal within each sequence.

    The layers are called one by one because the model's own forward, given positions that jump
    and no mask, takes every jump for the start of another packed sequence and cuts the attention.
    """
    states = model.model.embed_tokens(tokens)
    rotations = model.model.rotary_emb(states, positions)
    for layer in model.model.layers:
        states = layer(
            states, attention_mask=None, position_ids=positions, position_embeddings=rotations
        )
    return model.model.norm(states)


def device_type(model: Qwen2ForCausalLM) -> str:
    """What ``torch.autocast`` wants to know."""
    return next(model.parameters()).device.type


def autocast(model: Qwen2ForCausalLM, enabled: bool) -> torch.autocast:
    return torch.autocast(device_type(model), dtype=torch.bfloat16, enabled=enabled)
