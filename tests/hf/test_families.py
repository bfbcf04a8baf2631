"""Families of models: every one that can be given a memory, and why the others cannot."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM
from transformers.cache_utils import DynamicLayer

from memollm.hf.attachment import attach
from memollm.hf.families import UnsupportedModelError, memory_layers
from memollm.hf.layer import MemoryLayer
from memollm.memory.ebbinghaus import Memory
from memollm.modes.sparse_attention import SparseAttention, Storage
from tests.hf.tiny import (
    COMMON,
    EAGER,
    FAMILIES,
    FLOAT32,
    FLOAT64,
    forgetful,
    kept_positions,
    prompt,
    tiny_model,
)

TOKENS = 40
NATIVE = {"cohere2", "gemma2", "gemma3_text", "gpt_oss", "lfm2", "qwen3_next"}


@pytest.fixture(params=sorted(FAMILIES))
def family(request):
    return request.param


@pytest.fixture
def implementation(family):
    """Sets a model's attention for one test."""
    model = tiny_model(family)
    before = model.config._attn_implementation

    def set_to(name):
        model.set_attn_implementation(name)

    yield set_to
    model.set_attn_implementation(before)


def test_with_nothing_forgotten_a_model_is_the_untouched_one(family, implementation):
    model, ids = tiny_model(family), prompt(TOKENS)
    with attach(model, forgetful(threshold=0.0)) as attachment:
        ours = model(ids).logits
        assert kept_positions(attachment)[0] == list(range(TOKENS))
    with torch.no_grad():
        default = model(ids).logits
        by_default = model.config._attn_implementation
        implementation("eager")
        eager = model(ids).logits
    assert (ours - eager).abs().max() <= EAGER * eager.abs().max()
    if by_default == "sdpa":  # which takes the softmax in the model's own dtype, as we do
        assert (ours - default).abs().max() <= FLOAT64


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_evicting_is_masking_in_logits(family, dtype):
    model, ids = tiny_model(family, dtype), prompt(TOKENS)
    logits = {}
    for storage in Storage:
        with attach(model, forgetful(), SparseAttention(storage)) as attachment:
            logits[storage] = model(ids).logits
            kept = kept_positions(attachment)
    with torch.no_grad():
        untouched = model(ids).logits
    limit = FLOAT64 if dtype == torch.float64 else FLOAT32
    assert (logits[Storage.mask] - logits[Storage.evict]).abs().max() <= limit
    assert (logits[Storage.mask] - untouched).abs().max() > 0.1
    assert all(3 <= len(layer) < TOKENS / 2 for layer in kept)


def test_generate_is_a_loop_of_single_tokens_and_evicting_is_masking_in_text(family):
    model, ids = tiny_model(family), prompt(TOKENS)
    texts = []
    for storage in Storage:
        with attach(model, forgetful(), SparseAttention(storage)):
            texts.append(model.generate(ids, max_new_tokens=6, min_new_tokens=6, do_sample=False))
    with attach(model, forgetful()) as attachment:
        cache, text = attachment.new_cache(), ids
        new = ids
        for _ in range(6):
            logits = model(new, past_key_values=cache).logits[:, -1]
            logits[:, COMMON["eos_token_id"]] = -torch.inf
            new = logits.float().argmax(dim=-1, keepdim=True)
            text = torch.cat([text, new], dim=1)
    assert texts[0].tolist() == texts[1].tolist() == text.tolist()


def test_layers_of_other_kinds_stay_native(family):
    model = tiny_model(family)
    with attach(model, forgetful()) as attachment:
        layers = attachment.new_cache().layers
    assert not any(type(layer) is DynamicLayer for layer in layers)
    assert sum(isinstance(layer, MemoryLayer) for layer in layers) == (2 if family in NATIVE else 4)


@pytest.mark.parametrize("family", ["cohere2", "gemma2", "gemma3_text", "gpt_oss"])
def test_a_sliding_window_is_honoured(family):
    """What the memory forgot, and what is out of the window, changes nothing."""
    model = tiny_model(family, layers=2)
    near = prompt(TOKENS)
    far = near.clone()
    far[0, 2] = near[0, 2] % 90 + 5
    with attach(model, forgetful(sinks=0, layer_fraction=0.5)):
        difference = (model(near).logits - model(far).logits)[0].abs().amax(dim=-1)
    assert difference[2] > 1e-3
    assert difference[-1] == 0


@pytest.mark.parametrize(
    ("family", "setting", "without"),
    [("gemma2", "attn_logit_softcapping", None), ("gpt_oss", "sinks", -50.0)],
)
def test_softcap_and_sinks_change_what_a_memory_layer_gives(family, setting, without):
    model, ids = tiny_model(family), prompt(TOKENS)
    attentions = [layer.self_attn for layer in model.model.layers]
    memory = forgetful(threshold=0.0)
    with attach(model, memory):
        given = model(ids).logits
    before = [getattr(attention, setting) for attention in attentions]
    try:
        for attention, value in zip(attentions, before, strict=True):
            other = value if without is None else torch.nn.Parameter(value.detach() * 0 + without)
            setattr(attention, setting, None if without is None else other)
        with attach(model, memory):
            changed = model(ids).logits
    finally:
        for attention, value in zip(attentions, before, strict=True):
            setattr(attention, setting, value)
    assert (given - changed).abs().max() > 1e-2


@pytest.mark.parametrize("family", ["bloom", "codegen", "falcon", "gpt_neo", "gptj", "mpt", "xglm"])
def test_families_with_attention_of_their_own_are_refused(family):
    sizes = {"hidden_size": 32, "n_embd": 32, "d_model": 32, "num_hidden_layers": 2, "n_layer": 2}
    sizes |= {"num_attention_heads": 2, "n_head": 2, "vocab_size": 101, "rotary_dim": 4}
    if family == "gpt_neo":
        sizes = {"hidden_size": 32, "num_layers": 2, "attention_types": [[["global"], 2]]}
        sizes |= {"num_heads": 2, "vocab_size": 101}
    elif family == "mpt":
        sizes = {"d_model": 32, "n_heads": 2, "n_layers": 2, "vocab_size": 101}
    elif family == "xglm":
        sizes = {"d_model": 32, "ffn_dim": 32, "num_layers": 2, "attention_heads": 2}
        sizes |= {"vocab_size": 101}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **sizes))
    with (
        pytest.raises(UnsupportedModelError, match=rf"\({family}\) computes attention in its own"),
        attach(model),
    ):
        pass


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_encoder_decoders_are_refused(family):
    sizes = {"d_model": 32, "d_ff": 32, "d_kv": 8, "num_layers": 1, "num_heads": 2}
    if family == "bart":
        sizes = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1}
        sizes |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
        sizes |= {"encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    config = AutoConfig.for_model(family, vocab_size=101, **sizes)
    model = AutoModelForSeq2SeqLM.from_config(config)
    with pytest.raises(UnsupportedModelError, match="is an encoder-decoder"), attach(model):
        pass


def test_latent_attention_is_refused():
    latent = {
        "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8,
        "v_head_dim": 8, "num_key_value_heads": 4, "n_routed_experts": 4, "n_group": 1,
        "topk_group": 1, "num_experts_per_tok": 2, "moe_intermediate_size": 24,
    }  # fmt: skip
    config = AutoConfig.for_model("deepseek_v3", **{**COMMON, **latent})
    model = AutoModelForCausalLM.from_config(config)
    with pytest.raises(UnsupportedModelError, match="latent"), attach(model):
        pass


def test_a_fraction_that_leaves_no_layer_is_refused():
    with (
        pytest.raises(ValueError, match=r"layer_fraction=0\.1 .* at least 0\.25"),
        attach(tiny_model(), Memory(layer_fraction=0.1)),
    ):
        pass


def test_a_first_half_of_sliding_layers_is_refused():
    settings = {
        **FAMILIES["gemma3_text"],
        "layer_types": ["sliding_attention"] * 3 + ["full_attention"],
    }
    config = AutoConfig.for_model("gemma3_text", **{**COMMON, **settings})
    model = AutoModelForCausalLM.from_config(config)
    with pytest.raises(UnsupportedModelError, match="no full-attention layer among the first 2 "):
        memory_layers(type(model), model.config, Memory(layer_fraction=0.5))
    assert memory_layers(type(model), model.config, Memory(layer_fraction=1.0)) == [3]
