"""A tiny model that reads English tokens, its subjects, and requests to put to them."""

from __future__ import annotations

import functools
from typing import Any

import torch
from lm_eval.api.instance import Instance

from memollm.evaluation.harness.model import StreamedLM
from memollm.hf.models import Loaded, RandomModel
from memollm.hf.subject import HFSubject
from memollm.memory.ebbinghaus import Memory
from memollm.modes.base import Mode
from memollm.modes.sparse_attention import SparseAttention
from memollm.reference import text_path

CONTEXT = 256
TEXT = text_path().read_text(encoding="utf-8")
SETTINGS = {
    "vocab_size": 3072, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": CONTEXT,
    "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1,
}  # fmt: skip


@functools.cache
def loaded(dtype: str = "float64") -> Loaded:
    """Weights so large that attention is far from uniform: what is forgotten is missed."""
    made = RandomModel(model_type="llama", settings=SETTINGS, dtype=dtype, device="cpu").load()
    with torch.no_grad():
        for parameter in made.model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8)
    return made


def forgetful(**changes: Any) -> Memory:
    """A memory that keeps 24 tokens for certain (2 sinks, a lifetime of 21.07), and few more."""
    settings = {
        "strength": 0.175, "threshold": 0.3, "recall_threshold": 0.4, "reinforcement": 0.03,
        "sinks": 2, "recent": 4, "layer_fraction": 1.0, "prefill_chunk": 16,
    }  # fmt: skip
    return Memory(**{**settings, **changes})


def subject(mode: Mode | None = None, memory: Memory | None = None) -> HFSubject:
    made = loaded()
    return HFSubject(
        made.model, made.tokenizer, memory or forgetful(), mode or SparseAttention(), "tiny"
    )


def model(mode: Mode | None = None, memory: Memory | None = None, **options: Any) -> StreamedLM:
    return StreamedLM(subject(mode, memory), **options)


def passage(tokens: int, start: int = 0) -> str:
    """English of roughly so many tokens."""
    return TEXT[start : start + round(tokens / 0.3)].strip()


def request(kind: str, *arguments: Any) -> Instance:
    return Instance(kind, {}, arguments, 0)  # pyright: ignore[reportArgumentType]


LENGTHS = (9, 100, 16, 33, 140, 60)
CHOICES = (" red", " a blue carriage", " Nobody knew")
LIKELIHOODS = [
    request("loglikelihood", passage(length, 900 * index), choice)
    for index, length in enumerate(LENGTHS)
    for choice in CHOICES
] + [request("loglikelihood", "", " Once upon a time")]
DOCUMENTS = [
    request("loglikelihood_rolling", passage(length, 900 * index))
    for index, length in enumerate(LENGTHS)
]
PROMPTS = [
    request("generate_until", passage(length, 900 * index), {"until": ["\n"], "max_gen_toks": 9})
    for index, length in enumerate(LENGTHS)
]
KINDS = {
    "loglikelihood": LIKELIHOODS,
    "loglikelihood_rolling": DOCUMENTS,
    "generate_until": PROMPTS,
}


def replies(lm: Any, kind: str) -> list[Any]:
    """What ``lm`` says to the requests of a kind: numbers, or texts."""
    said = getattr(lm, kind)(KINDS[kind], disable_tqdm=True)
    return [value for value, _ in said] if kind == "loglikelihood" else said
