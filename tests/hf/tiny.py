"""Tiny random causal language models, and the memory that makes them forget within a few tokens."""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from memollm.hf.attachment import Attachment
from memollm.memory.ebbinghaus import Memory

# Largest difference of logits between two ways of computing the same thing. The order in which
# products are summed differs (a slab's slots are in no order), so that neither can be 0.
FLOAT32 = 1e-5
FLOAT64 = 1e-12
# Transformers' own eager attention takes the softmax in float32, whatever the model's dtype: a
# float64 model differs from it by float32's rounding, in units of the largest logit.
EAGER = 1e-5

VOCABULARY = 101
COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
SLIDING = {"layer_types": ["full_attention", "sliding_attention"] * 2, "sliding_window": 8}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
FAMILIES: dict[str, dict] = {
    "cohere": {},
    "cohere2": SLIDING,
    "gemma": {"head_dim": 8},
    "gemma2": {
        **SLIDING, "head_dim": 8, "attn_logit_softcapping": 0.5, "final_logit_softcapping": 5.0,
        "query_pre_attn_scalar": 2,
    },
    "gemma3_text": {**SLIDING, "head_dim": 8},
    "glm4": {"head_dim": 8},
    "gpt2": {"n_inner": 48},
    "gpt_neox": {},
    "gpt_oss": {**SLIDING, "head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2},
    "granite": {},
    "helium": {"head_dim": 8},
    "lfm2": {
        "layer_types": ["full_attention", "conv"] * 2, "block_ff_dim": 48, "block_multiple_of": 8,
    },
    "llama": {},
    "mistral": {"head_dim": 8, "sliding_window": None},
    "mixtral": {"sliding_window": None, "num_local_experts": 4},
    "olmo2": {},
    "olmoe": {"num_experts": 4, "num_experts_per_tok": 2},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "phi": {},
    "phi3": {},
    "qwen2": {},
    "qwen3": {"head_dim": 8},
    "qwen3_moe": {**EXPERTS, "head_dim": 8},
    "qwen3_next": {
        **EXPERTS, "head_dim": 8, "layer_types": ["full_attention", "linear_attention"] * 2,
        "shared_expert_intermediate_size": 24, "linear_num_value_heads": 2,
        "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    },
    "smollm3": {},
    "stablelm": {},
    "starcoder2": {"sliding_window": None},
}  # fmt: skip
WEIGHTS = {"qwen3_next": 4}  # factor; linear attention is unstable with larger ones


@functools.cache
def tiny_model(
    family: str = "qwen3", dtype: torch.dtype = torch.float64, seed: int = 0, layers: int = 4
) -> PreTrainedModel:
    """A model with weights so large that its attention is far from uniform, its text varied."""
    settings = {**COMMON, **FAMILIES[family], "num_hidden_layers": layers}
    if "layer_types" in settings:
        settings["layer_types"] = settings["layer_types"][:layers]
    config = AutoConfig.for_model(family, **settings)
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(
        config,
        dtype=dtype,
        experts_implementation="eager",  # the grouped one has no float64
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(WEIGHTS.get(family, 8))
            else:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def forgetful(**changes: object) -> Memory:
    """A memory that keeps some 8 of 40 tokens, and not the same in each layer."""
    settings = {
        "strength": 0.03, "threshold": 0.3, "recall_threshold": 0.4, "reinforcement": 0.03,
        "sinks": 1, "recent": 2, "layer_fraction": 1.0, "prefill_chunk": 8,
    }  # fmt: skip
    return Memory(**{**settings, **changes})


def prompt(tokens: int, batch: int = 1, seed: int = 0) -> Tensor:
    """Random tokens, none of them special."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, VOCABULARY, (batch, tokens), generator=generator)


def padded(prompts: list[Tensor]) -> dict[str, Tensor]:
    """Prompts (1, tokens) of several lengths as one batch, with pads on the left.

    Positions are given, as generate gives them: a rotation in float32 depends on where it is.
    """
    width = max(ids.shape[1] for ids in prompts)
    ids = torch.zeros(len(prompts), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, one in enumerate(prompts):
        ids[row, width - one.shape[1] :] = one[0]
        mask[row, width - one.shape[1] :] = 1
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    return {"input_ids": ids, "attention_mask": mask, "position_ids": positions}


def kept_positions(attachment: Attachment | None, row: int = 0) -> list[list[int]]:
    """Positions that are still seen, layer by layer, of the last forward pass's cache."""
    assert attachment is not None and attachment.cache is not None
    kept = []
    for layer in attachment.memory_layers(attachment.cache):
        slab = layer.remembering.slab
        seen = ~slab["hidden"][row]
        kept.append(sorted(slab["position"][row][seen].tolist()))
    return kept


def states(attachment: Attachment | None, row: int = 0) -> list[Tensor]:
    """Position, last recall, strength and weights of all that is seen, layer by layer."""
    assert attachment is not None and attachment.cache is not None
    found = []
    for layer in attachment.memory_layers(attachment.cache):
        slab = layer.remembering.slab
        seen = ~slab["hidden"][row]
        named = ("position", "recalled", "strength", *layer.remembering._attenuates)
        table = torch.stack([slab[name][row][seen].double() for name in named])
        found.append(table[:, table[0].argsort()])
    return found
