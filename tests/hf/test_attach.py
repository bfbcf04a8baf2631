"""attach(): what it changes, what it refuses, and that all is undone."""

import copy

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM
from transformers.cache_utils import DynamicCache, StaticCache

from memollm.hf.attachment import attach
from memollm.hf.families import UnsupportedModelError
from memollm.hf.layer import MemoryLayer
from memollm.hf.slab_layer import SlabLayer
from memollm.memory.ebbinghaus import Aggregation, Memory
from memollm.modes.baseline import Baseline
from memollm.modes.soft_delete import SoftDelete
from memollm.modes.sparse_attention import SparseAttention
from tests.hf.tiny import COMMON, FLOAT64, forgetful, kept_positions, padded, prompt, tiny_model

TOKENS = 40


@pytest.fixture
def model():
    return tiny_model()


def marks(model):
    """Everything about a model that attach touches."""
    return {
        "implementation": model.config._attn_implementation,
        "generation": model.generation_config.to_dict(),
        "attributes": {key: id(value) for key, value in model.__dict__.items() if key[0] != "_"},
        "hooks": [len(model._forward_hooks), len(model._forward_pre_hooks)],
    }


class TestUndoing:
    @pytest.mark.parametrize("aggregation", list(Aggregation))
    def test_all_is_undone(self, model, aggregation):
        before, ids = marks(model), prompt(TOKENS)
        untouched = model.generate(ids, max_new_tokens=8)
        with attach(model, forgetful(aggregation=aggregation)):
            assert marks(model) != before
            model.generate(ids, max_new_tokens=8)
        assert marks(model) == before
        assert model.generate(ids, max_new_tokens=8).equal(untouched)

    def test_all_is_undone_after_an_error_in_the_block(self, model):
        before = marks(model)
        with pytest.raises(ZeroDivisionError), attach(model, forgetful()):
            model(prompt(TOKENS))
            raise ZeroDivisionError
        assert marks(model) == before

    def test_all_is_undone_after_an_error_in_the_model(self, model):
        before, ids = marks(model), prompt(TOKENS)
        last = model.model.layers[-1]
        failing = last.register_forward_pre_hook(lambda *_: 1 / 0)
        with attach(model, forgetful()) as attachment:
            with pytest.raises(ZeroDivisionError):
                model(ids)
            failing.remove()
            model(ids)
            assert len(kept_positions(attachment)[0]) < TOKENS / 2
        assert marks(model) == before

    def test_nothing_is_touched_when_it_refuses(self, model):
        before = marks(model)
        with (
            pytest.raises(ValueError, match="layer_fraction"),
            attach(model, Memory(layer_fraction=0.1)),
        ):
            pass
        assert marks(model) == before

    def test_a_generate_of_ones_own_is_given_back(self, model):
        calls = []

        def own(*args, **kwargs):
            calls.append(kwargs)
            return type(model).generate(model, *args, **kwargs)

        model.generate = own
        try:
            with attach(model, forgetful()):
                model.generate(prompt(TOKENS), max_new_tokens=2)
            assert model.__dict__["generate"] is own and len(calls) == 1
        finally:
            del model.generate


class TestOneAtATime:
    @pytest.mark.parametrize("mode", [SparseAttention(), Baseline()], ids=["memory", "baseline"])
    def test_a_second_memory_is_refused(self, model, mode):
        before = marks(model)
        with attach(model, forgetful()) as attachment:
            with (
                pytest.raises(RuntimeError, match="has a memory attached already"),
                attach(model, forgetful(), mode),
            ):
                pass
            model(prompt(TOKENS))
            assert len(kept_positions(attachment)[0]) < TOKENS / 2  # the first is still at work
        assert marks(model) == before

    def test_one_after_the_other_is_fine(self, model):
        kept = []
        for _ in range(2):
            with attach(model, forgetful()) as attachment:
                model(prompt(TOKENS))
                kept.append(kept_positions(attachment))
        assert kept[0] == kept[1] and len(kept[0][0]) < TOKENS

    def test_two_models_each_have_their_own(self):
        models, ids = [tiny_model(seed=seed) for seed in (0, 1)], prompt(TOKENS)
        alone = []
        for model in models:
            with attach(model, forgetful()):
                alone.append(model(ids).logits)
        with attach(models[0], forgetful()), attach(models[1], forgetful()):
            together = [model(ids).logits for model in models]
        assert all(map(torch.equal, alone, together))


class TestBaseline:
    def test_outputs_are_the_untouched_models_bit_for_bit(self, model):
        batch = padded([prompt(20), prompt(12, seed=1)])
        plain = model(**batch).logits, model.generate(**batch, max_new_tokens=8)
        before = marks(model)
        with attach(model, forgetful(), Baseline()) as attachment:
            assert attachment is None
            assert marks(model) == before
            ours = model(**batch).logits, model.generate(**batch, max_new_tokens=8)
        assert all(map(torch.equal, plain, ours))

    def test_gradients_are_off_under_a_memory_only(self, model):
        with attach(model, forgetful()):
            assert not model(prompt(4)).logits.requires_grad
        with attach(model, forgetful(), Baseline()):
            assert model(prompt(4)).logits.requires_grad
        assert torch.is_grad_enabled()


class TestOtherModels:
    def test_a_model_that_shares_the_config_keeps_its_outputs(self, model):
        other = AutoModelForCausalLM.from_config(model.config, dtype=torch.float64).eval()
        assert other.config is model.config
        batch = padded([prompt(20), prompt(12, seed=1)])
        with torch.no_grad():
            plain = other(**batch).logits, other.generate(**batch, max_new_tokens=8)
            with attach(model, forgetful()):
                shared = other(**batch).logits, other.generate(**batch, max_new_tokens=8)
        assert (plain[0] - shared[0])[batch["attention_mask"].bool()].abs().max() <= FLOAT64
        assert plain[1].equal(shared[1])

    def test_a_cache_is_of_no_use_to_another_model(self, model):
        other = copy.deepcopy(model)
        with attach(model, forgetful()) as attachment:
            model(prompt(TOKENS))
            with pytest.raises(RuntimeError, match="filled under a memory"):
                other(prompt(1), past_key_values=attachment.cache)

    def test_a_model_that_does_not_hand_on_its_keys_is_refused_after_one_pass(self, monkeypatch):
        model = tiny_model(layers=2)
        attention = model.model.layers[1].self_attn
        forward = attention.forward

        def without_cache(*args, past_key_values=None, **kwargs):
            return forward(*args, past_key_values=None, **kwargs)

        monkeypatch.setattr(attention, "forward", without_cache)
        with (
            attach(model, forgetful()),
            pytest.raises(UnsupportedModelError, match=r"layers \[1\]"),
        ):
            model(prompt(TOKENS))

    @pytest.mark.parametrize(
        ("head", "reason"),
        [
            (AutoModelForMaskedLM, "does not generate text"),
            (AutoModelForCausalLM, "see later ones"),
        ],
    )
    def test_a_model_that_sees_the_future_is_refused(self, head, reason):
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        config = AutoConfig.for_model("bert", intermediate_size=32, vocab_size=101, **sizes)
        model = head.from_config(config).eval()
        with pytest.raises(UnsupportedModelError, match=reason), attach(model, forgetful()):
            model(prompt(8))


class TestCaches:
    def test_a_fresh_cache_gets_memory_layers_in_place(self, model):
        for cache in (DynamicCache(), DynamicCache(config=model.config)):
            with attach(model, forgetful(layer_fraction=0.5)):
                model(prompt(TOKENS), past_key_values=cache)
            kinds = [type(layer) for layer in cache.layers]
            assert kinds == [MemoryLayer] * 2 + [SlabLayer] * 2

    def test_each_forward_pass_without_a_cache_begins_anew(self, model):
        with attach(model, forgetful()) as attachment:
            first = model(prompt(TOKENS)).logits
            assert first.equal(model(prompt(TOKENS)).logits)
            assert attachment.cache.get_seq_length() == TOKENS

    def test_a_cache_goes_on_in_a_later_block(self, model):
        ids = prompt(TOKENS)
        with attach(model, forgetful()) as attachment:
            whole = model(ids).logits
            cache = attachment.new_cache()
        for part in ids.split(8, dim=1):  # one chunk each
            with attach(model, forgetful()):
                last = model(part, past_key_values=cache).logits
        assert (whole[:, -8:] - last).abs().max() <= FLOAT64

    def test_a_cache_is_refused_outside(self, model):
        with attach(model, forgetful()) as attachment:
            model(prompt(TOKENS))
        with pytest.raises(RuntimeError, match="filled under a memory"):
            model(prompt(1), past_key_values=attachment.cache)

    def test_a_cache_is_refused_outside_even_after_an_error(self, model):
        failing = model.model.layers[-1].register_forward_pre_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError), attach(model, forgetful()) as attachment:
            model(prompt(TOKENS))
        failing.remove()
        with pytest.raises(RuntimeError, match="filled under a memory"):
            model(prompt(1), past_key_values=attachment.cache)

    @pytest.mark.parametrize(
        ("memory", "mode"),
        [(forgetful(threshold=0.5), SparseAttention()), (forgetful(), SoftDelete())],
    )
    def test_a_cache_of_another_memory_or_mode_is_refused(self, model, memory, mode):
        with attach(model, forgetful()) as attachment:
            model(prompt(TOKENS))
        with attach(model, memory, mode), pytest.raises(ValueError, match="another memory or mode"):
            model(prompt(1), past_key_values=attachment.cache)

    def test_a_cache_filled_without_the_memory_is_refused(self, model):
        cache = DynamicCache(config=model.config)
        model(prompt(TOKENS), past_key_values=cache)
        with attach(model, forgetful()), pytest.raises(ValueError, match="already holds 40 tokens"):
            model(prompt(1), past_key_values=cache)

    def test_a_static_cache_is_refused(self, model):
        cache = StaticCache(config=model.config, max_cache_len=64)
        with attach(model, forgetful()), pytest.raises(ValueError, match="is a StaticCache"):
            model(prompt(4), past_key_values=cache)

    def test_an_offloaded_cache_is_refused(self, model):
        cache = DynamicCache(config=model.config)
        cache.offloading = True
        with attach(model, forgetful()), pytest.raises(ValueError, match="not offloaded"):
            model(prompt(4), past_key_values=cache)

    @pytest.mark.parametrize("name", ["static", "offloaded", "quantized", "offloaded_static"])
    def test_other_implementations_are_refused_by_generate(self, model, name):
        with (
            attach(model, forgetful()),
            pytest.raises(ValueError, match=f"cache_implementation='{name}' is not supported"),
        ):
            model.generate(prompt(4), max_new_tokens=2, cache_implementation=name)

    def test_other_implementations_are_refused_in_a_generation_config(self, model):
        config = copy.deepcopy(model.generation_config)
        config.cache_implementation = "static"
        with (
            attach(model, forgetful()),
            pytest.raises(ValueError, match="cache_implementation='static' is not supported"),
        ):
            model.generate(prompt(4), max_new_tokens=2, generation_config=config)

    def test_no_cache_is_refused(self, model):
        with attach(model, forgetful()):
            with pytest.raises(ValueError, match="use_cache=False is not supported"):
                model.generate(prompt(4), max_new_tokens=2, use_cache=False)
            with pytest.raises(ValueError, match="use_cache=False is not supported"):
                model(prompt(4), use_cache=False)

    def test_a_reset_cache_begins_anew(self, model):
        with attach(model, forgetful()) as attachment:
            first = model(prompt(TOKENS)).logits
            cache = attachment.cache
            cache.reset()
            assert cache.get_seq_length() == 0
            assert model(prompt(TOKENS), past_key_values=cache).logits.equal(first)


class TestInputs:
    def test_embeddings_do_instead_of_tokens(self, model):
        ids = prompt(TOKENS)
        embeddings = model.get_input_embeddings()(ids)
        with attach(model, forgetful()) as attachment:
            by_id = model(ids).logits
            assert model(inputs_embeds=embeddings).logits.equal(by_id)
            text = model.generate(inputs_embeds=embeddings, max_new_tokens=8)
            kept = kept_positions(attachment)
            assert text.equal(model.generate(ids, max_new_tokens=8)[:, TOKENS:])
            assert kept_positions(attachment) == kept

    def test_positional_arguments_are_understood(self, model):
        ids, mask, _ = padded([prompt(20), prompt(12, seed=1)]).values()
        with attach(model, forgetful()):
            named = model(input_ids=ids, attention_mask=mask).logits
            assert model(ids, mask).logits.equal(named)

    def test_a_mask_of_four_dimensions_is_refused(self, model):
        mask = torch.ones(1, 1, 4, 4, dtype=torch.bool).tril()
        with attach(model, forgetful()), pytest.raises(ValueError, match="of 4 dimensions"):
            model(prompt(4), attention_mask=mask)

    def test_masks_by_layer_type_are_refused(self, model):
        mask = {"full_attention": torch.ones(1, 1, 4, 4, dtype=torch.bool).tril()}
        with attach(model, forgetful()), pytest.raises(ValueError, match="attention_mask of dict"):
            model(prompt(4), attention_mask=mask)

    def test_packed_sequences_are_refused(self, model):
        positions = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3]])
        with (
            attach(model, forgetful()),
            pytest.raises(ValueError, match="packed sequences"),
        ):
            model(prompt(8), position_ids=positions)

    def test_position_bias_is_refused(self, model):
        with attach(model, forgetful()), pytest.raises(ValueError, match="position_bias"):
            model(prompt(4), position_bias=torch.zeros(1))

    def test_dropout_is_refused(self):
        config = AutoConfig.for_model("qwen3", **COMMON, head_dim=8, attention_dropout=0.1)
        model = AutoModelForCausalLM.from_config(config).train()
        with attach(model, forgetful()):
            with pytest.raises(ValueError, match=r"dropout of 0\.1 .* model\.eval\(\)"):
                model(prompt(4))
            model.eval()
            model(prompt(4))


class TestWeights:
    """output_attentions: what each query really saw."""

    def test_rows_sum_to_one_and_forgotten_columns_are_zero(self, model):
        ids = prompt(TOKENS)
        with attach(model, forgetful(layer_fraction=0.5)) as attachment:
            model(ids)
            kept = kept_positions(attachment)
            out = model(prompt(1), past_key_values=attachment.cache, output_attentions=True)
        assert len(out.attentions) == 4
        for layer, weights in enumerate(out.attentions):
            assert weights.shape == (1, 4, 1, TOKENS + 1)
            assert (weights.sum(dim=-1) - 1).abs().max() <= FLOAT64
            seen = (weights[0, 0, 0] > 0).nonzero().flatten().tolist()
            expected = range(TOKENS) if layer >= 2 else kept[layer]
            assert seen == [*expected, TOKENS]

    def test_of_padded_rows_they_are_those_of_the_row_alone(self, model):
        prompts = [prompt(30), prompt(13, seed=1), prompt(24, seed=2)]
        with attach(model, forgetful(layer_fraction=0.5)):
            alone = [model(ids, output_attentions=True).attentions for ids in prompts]
            batch = model(**padded(prompts), output_attentions=True).attentions
        for row, one in enumerate(alone):
            count = prompts[row].shape[1]
            for layer in range(4):
                weights = batch[layer][row, :, -count:]
                assert (weights[..., : 30 - count] == 0).all()
                assert (weights[..., 30 - count :] - one[layer][0]).abs().max() <= FLOAT64

    def test_generate_gives_them_too(self, model):
        with attach(model, forgetful()):
            out = model.generate(
                prompt(TOKENS),
                max_new_tokens=4,
                min_new_tokens=4,
                output_attentions=True,
                return_dict_in_generate=True,
            )
        last = out.attentions[-1]
        assert len(last) == 4 and last[0].shape == (1, 4, 1, TOKENS + 3)
        assert ((last[0] > 0).sum(dim=-1) < TOKENS / 2).all()


def test_the_name_that_users_type_is_the_function():
    import memollm.hf

    assert memollm.hf.attach is attach
    with pytest.raises(AttributeError, match="no attribute 'attatch'"):
        _ = memollm.hf.attatch
