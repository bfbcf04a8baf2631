"""Evicting equals masking in whole models, over random shapes, schedules, pads and chunkings."""

import functools

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM

from memollm.hf.attachment import attach
from memollm.modes.sparse_attention import SparseAttention, Storage
from tests.hf.tiny import COMMON, FLOAT32, FLOAT64, forgetful, kept_positions, padded, prompt

NEW = 12  # tokens to generate


@functools.cache
def random_model(family: str, heads: int, kv_heads: int, layers: int, dtype: torch.dtype, dim: int):
    """Weights of moderate size: rounding must not decide the text of the float32 models."""
    shape = {"num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": dim}
    config = AutoConfig.for_model(family, **{**COMMON, **shape, "num_hidden_layers": layers})
    torch.manual_seed(heads + layers)
    model = AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)
    return model


def memories():
    return st.builds(
        forgetful,
        strength=st.sampled_from([0.02, 0.05, 0.1]),
        threshold=st.sampled_from([0.2, 0.5, {"first": 0.1, "last": 0.6}]),
        recall_threshold=st.sampled_from([None, 0.3]),
        reinforcement=st.sampled_from([0.0, 0.05]),
        sinks=st.integers(0, 3),
        recent=st.integers(0, 5),
        prefill_chunk=st.integers(1, 40),
        layer_fraction=st.sampled_from([0.5, 1.0]),
    )


@settings(max_examples=20)
@given(
    memory=memories(),
    family=st.sampled_from(["llama", "qwen2", "qwen3"]),
    groups=st.sampled_from([(2, 2), (4, 2), (4, 1), (6, 2)]),
    layers=st.sampled_from([2, 3]),
    lengths=st.lists(st.integers(3, 50), min_size=1, max_size=3),
    forward=st.sampled_from([None, 7, 20]),
    dtype=st.sampled_from([torch.float64, torch.float32]),
    dim=st.sampled_from([8, 16]),  # the compiled kernel takes multiples of 16
)
def test_texts_kept_positions_and_logits_agree(
    memory, family, groups, layers, lengths, forward, dtype, dim
):
    model = random_model(family, *groups, layers, dtype, dim)
    inputs = padded([prompt(count, seed=count) for count in lengths])
    found = []
    for storage in Storage:
        with attach(model, memory, SparseAttention(storage)) as attachment:
            text = model.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                max_new_tokens=NEW,
                do_sample=False,
                eos_token_id=None,
                prefill_chunk_size=forward,
            )
            kept = [kept_positions(attachment, row) for row in range(len(lengths))]
            logits = model(**inputs).logits[inputs["attention_mask"].bool()]
        found.append((text, kept, logits))
    (texts, kept, logits), (masked_texts, masked_kept, masked_logits) = found
    assert torch.equal(texts, masked_texts)
    assert kept == masked_kept
    bound = FLOAT64 if dtype == torch.float64 else FLOAT32
    assert (logits - masked_logits).abs().max() <= bound
