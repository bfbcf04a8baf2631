"""EbbinghausLLM: what its answers hold, and that they are consistent."""

import math

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from memollm.hf.attachment import attach
from memollm.hf.llm import EbbinghausLLM
from memollm.modes.sparse_attention import SparseAttention
from memollm.reference import weights_path
from tests.hf.tiny import COMMON, forgetful

PROMPT = "The city was founded in the north of the country, near a river and an old forest."
BATCH = [PROMPT, "A short one", "It rained all night, and in the morning the road was gone."]
KEYS = {"generated_text", "num_tokens", "generation_time", "memory_stats", "sparsity"}
LAYERS = {0, 1}  # of the four, with the default fraction


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(str(weights_path()))


@pytest.fixture(scope="module")
def model(tokenizer):
    sizes = {**COMMON, "head_dim": 8, "vocab_size": len(tokenizer)}
    torch.manual_seed(0)
    config = AutoConfig.for_model("qwen3", **{**sizes, "eos_token_id": None})
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float64).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8 if parameter.dim() > 1 else 1)
    return model


@pytest.fixture
def llm(model, tokenizer):
    return EbbinghausLLM(model, tokenizer=tokenizer, memory=forgetful(layer_fraction=0.5))


@pytest.mark.parametrize("mode", ["soft_delete", "sparse_attention", SparseAttention()], ids=str)
def test_one_prompt_gives_plain_values(llm, mode):
    result = llm.generate(PROMPT, max_new_tokens=6, generation_mode=mode)
    assert result.keys() == KEYS
    assert isinstance(result["generated_text"], str)
    assert result["num_tokens"] == 6 and result["generation_time"] > 0
    assert result["memory_stats"].keys() == result["sparsity"].keys() == LAYERS
    for stats in result["memory_stats"].values():
        assert stats.keys() == {"num_tokens", "avg_retention", "kept_tokens"}
        assert 0 < stats["avg_retention"] <= 1


def test_several_prompts_give_lists(llm):
    result = llm.generate(BATCH, max_new_tokens=6, return_attention_weights=True)
    assert result.keys() == KEYS | {"token_weights"}
    time = result.pop("generation_time")
    assert isinstance(time, float)
    assert all(isinstance(value, list) and len(value) == 3 for value in result.values())


@pytest.mark.parametrize("mode", ["soft_delete", "sparse_attention"])
def test_a_prompt_in_a_batch_is_answered_as_alone(llm, mode):
    options = {"max_new_tokens": 8, "generation_mode": mode, "return_attention_weights": True}
    alone = [llm.generate(prompt, **options) for prompt in BATCH]
    batch = llm.generate(BATCH, **options)
    for row, one in enumerate(alone):
        for key in ("generated_text", "num_tokens", "sparsity"):
            assert batch[key][row] == one[key]
        for layer in LAYERS:
            ours, theirs = (
                it["layers_info"][layer]
                for it in (batch["token_weights"][row], one["token_weights"])
            )
            for key in ours:
                assert ours[key] == pytest.approx(theirs[key], rel=1e-5, nan_ok=True)


def test_a_prompt_that_ends_early_is_answered_as_alone(llm):
    """Its memory is that of its end, not of the pads that it was given while others went on."""
    options = {"max_new_tokens": 12, "generation_mode": "sparse_attention"}
    options |= {"return_attention_weights": True}
    free = [llm.generate(prompt, **options)["token_weights"]["token_ids"][-11:] for prompt in BATCH]
    end = next(token for token in free[1][:6] if token not in free[0] + free[2])
    options["eos_token_id"] = end
    alone = [llm.generate(prompt, **options) for prompt in BATCH]
    batch = llm.generate(BATCH, **options)
    assert alone[1]["num_tokens"] < 12 == alone[0]["num_tokens"]
    for row, one in enumerate(alone):
        for key in ("generated_text", "num_tokens", "sparsity"):
            assert batch[key][row] == one[key]
        assert batch["token_weights"][row]["token_ids"] == one["token_weights"]["token_ids"]
        for layer in LAYERS:
            stats = batch["memory_stats"][row][layer]
            assert stats == pytest.approx(one["memory_stats"][layer], rel=1e-5)


@pytest.mark.parametrize("mode", ["soft_delete", "sparse_attention"])
def test_the_numbers_agree_with_one_another(llm, tokenizer, mode):
    result = llm.generate(
        PROMPT, max_new_tokens=9, generation_mode=mode, return_attention_weights=True
    )
    weights = result["token_weights"]
    assert weights.keys() == {"tokens", "token_ids", "layers_info"}
    ids = tokenizer(PROMPT)["input_ids"]
    seen = len(ids) + 8  # the last token was generated, but not read
    assert weights["token_ids"][: len(ids)] == ids
    assert len(weights["tokens"]) == len(weights["token_ids"]) == seen
    assert tokenizer.decode(weights["token_ids"][len(ids) :]) in result["generated_text"]
    assert weights["layers_info"].keys() == LAYERS
    for layer, info in weights["layers_info"].items():
        assert info.keys() == {"retention_weights", "memory_strength", "time_steps", "kept"}
        assert all(len(values) == seen for values in info.values())
        stats = result["memory_stats"][layer]
        assert stats["num_tokens"] == seen
        assert stats["kept_tokens"] == sum(info["kept"])
        assert result["sparsity"][layer] == pytest.approx(1 - sum(info["kept"]) / seen, abs=1e-6)
        kept = [r for r, k in zip(info["retention_weights"], info["kept"], strict=True) if k]
        assert stats["avg_retention"] == pytest.approx(sum(kept) / len(kept), rel=1e-5)
        for retention, strength, steps in zip(
            *(info[key] for key in ("retention_weights", "memory_strength", "time_steps")),
            strict=True,
        ):
            assert strength >= 0.03 - 1e-6
            assert retention == pytest.approx(math.exp(-0.01 * steps / strength), rel=1e-4)
        if mode == "sparse_attention":
            assert 0 < sum(info["kept"]) < seen / 2
            forgotten = [
                r for r, k in zip(info["retention_weights"], info["kept"], strict=True) if not k
            ]
            assert max(forgotten) < 0.3  # as they were when they were forgotten
        else:
            assert all(info["kept"])


def test_the_text_is_what_generate_gives_under_the_memory(llm, model, tokenizer):
    inputs = tokenizer(PROMPT, return_tensors="pt")
    with attach(model, llm.memory, SparseAttention()):
        text = model.generate(**inputs, max_new_tokens=10, do_sample=False)
    result = llm.generate(PROMPT, max_new_tokens=10, generation_mode="sparse_attention")
    new = text[0, inputs["input_ids"].shape[1] :]
    assert result["generated_text"] == tokenizer.decode(new, skip_special_tokens=True)


@pytest.mark.parametrize("options", [{"generation_mode": "baseline"}, {"enable_memory": False}])
def test_without_memory_it_is_the_plain_model(llm, model, tokenizer, options):
    inputs = tokenizer(PROMPT, return_tensors="pt")
    plain = model.generate(**inputs, max_new_tokens=10, do_sample=False)
    result = llm.generate(PROMPT, max_new_tokens=10, return_attention_weights=True, **options)
    new = plain[0, inputs["input_ids"].shape[1] :]
    assert result["generated_text"] == tokenizer.decode(new, skip_special_tokens=True)
    assert result["memory_stats"] == result["sparsity"] == {}
    assert result["token_weights"]["layers_info"] == {}
    forgetting = llm.generate(PROMPT, max_new_tokens=10, generation_mode="sparse_attention")
    assert forgetting["generated_text"] != result["generated_text"]


def test_the_same_seed_draws_the_same_text(llm):
    options = {"max_new_tokens": 10, "do_sample": True, "temperature": 1.3, "top_k": 0}
    texts = [llm.generate(PROMPT, seed=seed, **options)["generated_text"] for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_draws_among_one_are_greedy(llm):
    greedy = llm.generate(PROMPT, max_new_tokens=10)["generated_text"]
    for one in ({"top_k": 1}, {"top_p": 1e-9, "top_k": 0}, {"temperature": 1e-6}):
        options = {"max_new_tokens": 10, "do_sample": True, "seed": 3, **one}
        assert llm.generate(PROMPT, **options)["generated_text"] == greedy


def test_other_options_reach_generate(llm):
    others = [token for token in range(llm.model.config.vocab_size) if token != 7]
    forced = llm.generate(PROMPT, max_new_tokens=3, suppress_tokens=others)
    assert forced["generated_text"] == llm.tokenizer.decode([7, 7, 7])


def test_a_chat_template_is_applied(model):
    tokenizer = AutoTokenizer.from_pretrained(str(weights_path()))
    tokenizer.chat_template = (
        "{% for message in messages %}User: {{ message['content'] }}\n{% endfor %}"
        "{% if add_generation_prompt %}Answer:{% endif %}"
    )
    llm = EbbinghausLLM(model, tokenizer=tokenizer, memory=forgetful())
    result = llm.generate("Why?", max_new_tokens=2, return_attention_weights=True)
    ids = tokenizer("User: Why?\nAnswer:", add_special_tokens=False)["input_ids"]
    assert result["token_weights"]["token_ids"][:-1] == ids


def test_verbose_prints_the_memory_of_each_layer(llm, capsys):
    llm.generate(BATCH, max_new_tokens=2, verbose=True)
    printed = capsys.readouterr().out
    assert "mean retention" in printed and printed.count("│ 2 ") >= 1


def test_the_model_is_left_as_it_was(llm, model):
    before = model.config._attn_implementation
    llm.generate(PROMPT, max_new_tokens=2)
    assert model.config._attn_implementation == before and "generate" not in model.__dict__


@pytest.mark.parametrize("enable_memory", [True, False])
def test_an_unknown_mode_is_refused_with_the_nearest_name(llm, enable_memory):
    with pytest.raises(
        ValueError, match="generation_mode='sprase_attention' .* 'sparse_attention'"
    ):
        llm.generate(PROMPT, generation_mode="sprase_attention", enable_memory=enable_memory)


@pytest.mark.parametrize("prompt", ["", [], ["a text", ""]])
def test_an_empty_prompt_is_refused(llm, prompt):
    with pytest.raises(ValueError, match="prompt is empty"):
        llm.generate(prompt)


@pytest.mark.parametrize(
    "options", [{"num_beams": 3}, {"num_return_sequences": 2}, {"return_dict_in_generate": True}]
)
def test_several_sequences_of_a_prompt_are_refused(llm, options):
    (key,) = options
    with pytest.raises(ValueError, match=f"{key}=.* is not supported here"):
        llm.generate(PROMPT, **options)


def test_a_loaded_model_needs_its_tokenizer(model):
    with pytest.raises(ValueError, match="needs its tokenizer"):
        EbbinghausLLM(model)


def test_the_bundled_model_loads_by_name():
    llm = EbbinghausLLM("reference", device="cpu")
    assert llm.generate("The city was founded in", max_new_tokens=3)["num_tokens"] == 3
