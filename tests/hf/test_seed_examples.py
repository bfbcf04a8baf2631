"""The calls that the documents this project grew from show: they run, and give the keys shown.

Imports and the model's name apart, the calls are theirs, in their order; what they print is put
together here the same way, so that a missing key fails.
"""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from memollm import EbbinghausLLM
from memollm.reference import weights_path
from tests.hf.tiny import COMMON

MODES = ["baseline", "soft_delete", "sparse_attention"]


@pytest.fixture(scope="module")
def llm():
    tokenizer = AutoTokenizer.from_pretrained(str(weights_path()))
    sizes = {**COMMON, "head_dim": 8, "vocab_size": len(tokenizer), "num_hidden_layers": 2}
    torch.manual_seed(0)
    config = AutoConfig.for_model("qwen3", **sizes)
    return EbbinghausLLM(AutoModelForCausalLM.from_config(config).eval(), tokenizer=tokenizer)


def speed(result):
    return f"{result['num_tokens'] / result['generation_time']:.2f}"


@pytest.mark.parametrize("mode", MODES)
def test_basic_call(llm, mode):
    result = llm.generate(
        "请解释什么是人工智能",
        max_new_tokens=50,
        generation_mode=mode,
        temperature=0.7,
        do_sample=True,
    )
    assert isinstance(result["generated_text"], str) and float(speed(result)) > 0


def test_advanced_call(llm, capsys):
    result = llm.generate(
        "深度学习是什么？",
        max_new_tokens=100,
        generation_mode="sparse_attention",
        return_attention_weights=True,
        verbose=True,
        temperature=0.8,
        top_p=0.9,
    )
    assert result["num_tokens"] <= 100 and result["generation_time"] > 0
    assert isinstance(result["generated_text"], str)
    told = [
        f"{layer_id}: {stats['num_tokens']} tokens, {stats['avg_retention']:.4f}"
        for layer_id, stats in result["memory_stats"].items()
        if stats
    ]
    assert len(told) == 1  # the first half of two layers
    assert len(result["token_weights"]["tokens"][:10]) == 10
    assert capsys.readouterr().out  # verbose


@pytest.mark.parametrize("prompt", ["什么是人工智能？", "解释深度学习原理", "机器学习有哪些应用？"])
def test_batch_of_prompts_and_modes(llm, prompt):
    for mode in MODES:
        result = llm.generate(prompt, max_new_tokens=30, generation_mode=mode)
        assert f"{mode:15}: {result['generated_text'][:50]}..."


def test_scenarios(llm):
    fast = llm.generate("写一篇AI发展历程的文章", max_new_tokens=200, generation_mode="soft_delete")
    assert 0 < fast["num_tokens"] <= 200
    for mode in MODES:
        assert float(speed(llm.generate("解释量子计算", generation_mode=mode))) > 0


def test_generation_mode_and_enable_memory_together(llm):
    result = llm.generate(
        "请解释什么是深度学习",
        max_new_tokens=100,
        generation_mode="sparse_attention",
        enable_memory=True,
        return_attention_weights=True,
    )
    layer = next(iter(result["token_weights"]["layers_info"].values()))
    assert {"retention_weights", "memory_strength", "time_steps"} <= layer.keys()


def test_fixed_length(llm):
    """The model would end its text at once, if it were let."""
    first = llm.generate("Tell a story", max_new_tokens=1)
    end = llm.tokenizer.encode(first["generated_text"], add_special_tokens=False)[0]
    options = {"max_new_tokens": 40, "generation_mode": "sparse_attention", "eos_token_id": end}
    assert llm.generate("Tell a story", **options)["num_tokens"] == 1
    exact = llm.generate("Tell a story", force_exact_length=True, **options)
    assert exact["num_tokens"] == 40
