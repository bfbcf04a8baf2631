"""A scratch model: what every mechanism in it promises, and what full layers promise besides."""

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM
from transformers.cache_utils import DynamicCache

from memollm.attention.mechanisms.scope import Scope
from memollm.hf.attachment import attach
from memollm.hf.families import UnsupportedModelError
from memollm.modes.sparse_attention import SparseAttention, Storage
from memollm.registry import groups, import_parts
from memollm.scratch.cache import MechanismLayer
from memollm.scratch.mechanisms import build, cycled
from tests.hf.tiny import FLOAT64, forgetful, padded, prompt
from tests.scratch.small import SETTINGS, small_model

import_parts("attention.mechanisms")
TOKENS = 40


def reads_on(name):
    """Whether a mechanism reads from left to right, token by token, in groups of two heads."""
    try:
        build(name, SETTINGS.get(name, {})).key_value_heads(4, 2)
    except ValueError:
        return False
    return True


MECHANISMS = [name for name in sorted(groups()["mechanism"]) if reads_on(name)]
WIDE = 1e-9  # of mechanisms that sum in another order, or hash; in units of the largest logit


ISSUE = ["full", "local", "block_sparse", "nsa", "linear"]


@pytest.fixture(params=[(name,) for name in MECHANISMS], ids="-".join)
def any_model(request):
    return small_model(*request.param)


@pytest.fixture(params=[*((name,) for name in ISSUE), ("local", "full")], ids="-".join)
def model(request):
    """Of the mechanisms that are asked for first, and two of them mixed."""
    return small_model(*request.param)


def test_the_mechanisms_of_the_issue_are_among_them():
    assert set(ISSUE) <= set(MECHANISMS)


@torch.no_grad()
def test_token_by_token_is_the_whole_text(any_model):
    model = any_model
    ids, cache = prompt(TOKENS), DynamicCache(config=model.config)
    whole = model(ids, use_cache=False).logits
    cut = [model(part, past_key_values=cache).logits for part in ids.split([23, 1, 1, 15], dim=1)]
    assert (torch.cat(cut, dim=1) - whole).abs().max() <= WIDE * whole.abs().max()
    assert cache.get_seq_length() == TOKENS


@torch.no_grad()
def test_what_comes_later_changes_nothing_before(any_model):
    model = any_model
    ids = prompt(TOKENS)
    other = torch.cat([ids[:, :29], prompt(11, seed=5)], dim=1)
    one, two = model(ids, use_cache=False).logits, model(other, use_cache=False).logits
    assert (one[:, :29] - two[:, :29]).abs().max() <= WIDE * one.abs().max()
    assert (one[:, 29:] - two[:, 29:]).abs().max() > 1e-3


@torch.no_grad()
def test_a_padded_row_reads_as_it_does_alone(model):
    prompts = [prompt(n, seed=n) for n in (31, 9)]
    batch = padded(prompts)
    together = model(**batch).logits
    options = {"max_new_tokens": 4, "eos_token_id": None, "do_sample": False}
    texts = model.generate(**batch, **options)
    for row, ids in enumerate(prompts):
        alone = model(ids).logits[0]
        assert (together[row, -len(alone) :] - alone).abs().max() <= WIDE * alone.abs().max()
        assert torch.equal(texts[row, -4:], model.generate(ids, **options)[0, -4:])


@torch.no_grad()
def test_it_is_saved_and_read_again(model, tmp_path):
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float64).eval()
    assert type(again) is type(model) and again.config.attention == model.config.attention
    ids = prompt(TOKENS)
    assert torch.equal(again(ids).logits, model(ids).logits)


def test_every_weight_gets_a_gradient(model):
    model.zero_grad()
    model(prompt(TOKENS), labels=prompt(TOKENS, seed=1), use_cache=False).loss.backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None and weight.grad.isfinite().all(), name
        assert "self_attn" not in name or "bias" in name or weight.grad.any(), name


@torch.no_grad()
def test_full_layers_are_qwen2():
    model, ids = small_model("full"), prompt(TOKENS)
    config = Qwen2Config(**{
        key: it for key, it in model.config.to_dict().items()
        if key not in ("attention", "mechanisms", "layer_types", "model_type", "architectures")
    })  # fmt: skip
    twin = Qwen2ForCausalLM(config).double().eval()
    twin.load_state_dict(model.state_dict())
    assert torch.equal(model(ids).logits, twin(ids).logits)


@pytest.mark.parametrize("attention", [("full",), ("full", "local"), ("local", "full")])
def test_full_layers_take_a_memory(attention):
    """And it is the same memory: evicting is masking."""
    model, ids, found = small_model(*attention), prompt(TOKENS), []
    for storage in Storage:
        with attach(model, forgetful(), SparseAttention(storage)) as attachment:
            assert attachment.layers == [
                i for i, it in enumerate(model.config.attention) if it == "full"
            ]
            text = model.generate(ids, max_new_tokens=6, eos_token_id=None, do_sample=False)
            found.append((model(ids).logits, text))
            kept = attachment.cache.layers[attachment.layers[0]].remembering.kept_tokens()
            assert kept < TOKENS / 2
    assert (found[0][0] - found[1][0]).abs().max() <= FLOAT64
    assert torch.equal(found[0][1], found[1][1])


def test_a_model_without_full_layers_takes_none():
    refused = pytest.raises(UnsupportedModelError, match="no full-attention layer.*MechanismLayer")
    with refused, attach(small_model("local"), forgetful()):
        pass


@torch.no_grad()
def test_caches_hold_what_their_mechanisms_need():
    """Sums do not grow; keys and values do, by as much as a full layer's."""
    sizes = {}
    for name in ("linear", "local"):
        model, cache = small_model(name), DynamicCache(config=small_model(name).config)
        assert all(isinstance(layer, MechanismLayer) for layer in cache.layers)
        sizes[name] = []
        for _ in range(3):
            model(prompt(20), past_key_values=cache)
            sizes[name].append(cache.layers[0].nbytes())
    pair = 2 * 2 * 8 * 8  # keys and values, 2 heads of 8 numbers of 8 bytes
    assert sizes["local"] == [20 * pair, 40 * pair, 60 * pair]
    assert sizes["linear"] == [2 * 8 * 9 * 8] * 3  # kv heads, features, dim + 1, bytes


@pytest.mark.parametrize(
    "options", [{"num_beams": 2}, {"num_return_sequences": 2, "do_sample": True}]
)
def test_what_a_mechanisms_cache_cannot_do_is_refused(options):
    full = small_model("full").generate(prompt(5), max_new_tokens=3, **options)
    assert full.shape[1] <= 8
    if "num_beams" in options:
        with pytest.raises(NotImplementedError, match="beam search is not supported"):
            small_model("local").generate(prompt(5), max_new_tokens=3, **options)


def test_names_are_repeated_over_the_layers():
    assert cycled(["a", "b", "c"], 4) == ["a", "b", "c", "a"]
    with pytest.raises(ValueError, match="model.attention=.* is not allowed with model.layers=1"):
        cycled(["a", "b"], 1)


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("lokal", {}, "model.attention='lokal' is not allowed.*'local'"),
        ("local", {"window": 3}, "model.mechanisms.local='window' is not allowed.*window_size"),
        ("local", {"window_size": 0}, "model.attention=local is not allowed.*window_size"),
        ("linformer", {}, "model.attention=linformer is not allowed.*causal"),
    ],
)
def test_what_cannot_be_a_layer_is_refused(name, settings, said):
    with pytest.raises(ValueError, match=said):
        build(name, settings).require(Scope())


@pytest.mark.parametrize("name", ["local", "nsa", "linear", "learnable"])
def test_autocast_trains_every_mechanism(name):
    model = copy.deepcopy(small_model(name)).float().train()
    ids = prompt(TOKENS)
    exact = model(ids).logits
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(ids).logits
    logits.float().logsumexp(-1).sum().backward()
    # bfloat16 keeps 8 bits; a choice of blocks that tips over moves a few tokens altogether.
    apart = (logits - exact).norm(dim=-1) / exact.norm(dim=-1)
    assert apart.median() < 0.1
    grads = [it.grad for it in model.model.layers.parameters() if it.grad is not None]
    assert grads and all(it.isfinite().all() for it in grads)
