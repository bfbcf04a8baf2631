"""A tiny random model that reads text: the bundled tokenizer, and weights nobody trained."""

from __future__ import annotations

import functools

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from memollm.hf.subject import HFSubject
from memollm.memory.ebbinghaus import Memory
from memollm.modes.base import Mode
from memollm.reference import weights_path
from tests.hf.tiny import COMMON, forgetful


@functools.cache
def tokenizer():
    return AutoTokenizer.from_pretrained(str(weights_path()))


@functools.cache
def reader(layers: int = 3) -> PreTrainedModel:
    """Float64, with weights so large that its attention is far from uniform."""
    settings = {**COMMON, "num_hidden_layers": layers, "vocab_size": len(tokenizer())}
    torch.manual_seed(0)
    config = AutoConfig.for_model("qwen3", head_dim=8, **settings)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float64).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8)
    return model


def subject_of(mode: Mode, memory: Memory | None = None) -> HFSubject:
    """The reader; by default its first two of three layers keep some 8 of 40 tokens."""
    return HFSubject(reader(), tokenizer(), memory or forgetful(layer_fraction=0.7), mode)
