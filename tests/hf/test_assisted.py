"""Assisted decoding: candidates that are taken back leave no trace in the memory."""

import copy

import pytest
import torch
from transformers.generation.utils import DeferredStopCheck

from memollm.hf.attachment import attach
from memollm.memory.ebbinghaus import Aggregation
from memollm.modes.soft_delete import SoftDelete, Target
from memollm.modes.sparse_attention import SparseAttention, Storage
from tests.hf.tiny import FLOAT64, forgetful, prompt, states, tiny_model

TOKENS, NEW = 30, 16
MODES = {
    "evict": SparseAttention(),
    "mask": SparseAttention(Storage.mask),
    "both": SoftDelete(Target.both, floor=0.1),
    "compounding": SoftDelete(Target.logit_bias, floor=0.9, compounding=True),
}
OPTIONS = {"max_new_tokens": NEW, "eos_token_id": None, "do_sample": False}


def repetitive():
    """A prompt in which looking up what followed finds something, often wrong."""
    return prompt(10).repeat(1, 3)


def draft():
    """A model that is right now and then: the model itself, that forgets nothing."""
    small = copy.deepcopy(tiny_model(layers=2))
    small.generation_config.num_assistant_tokens = 4
    small.generation_config.num_assistant_tokens_schedule = "constant"
    small.generation_config.assistant_confidence_threshold = 0.0
    return small


HELP = {
    "prompt lookup": lambda: {"prompt_lookup_num_tokens": 4, "max_matching_ngram_size": 2},
    "draft": lambda: {"assistant_model": draft()},
}


def same(ours, theirs):
    """The same memory, to rounding."""
    for mine, yours in zip(ours, theirs, strict=True):
        assert mine[:2].equal(yours[:2])
        assert (mine[2:] - yours[2:]).abs().max() <= FLOAT64


class Counting:
    """How many candidates were taken back, and how many stayed."""

    def __init__(self, monkeypatch):
        from memollm.hf.layer import MemoryLayer

        self.removed, self.kept = 0, 0
        crop = MemoryLayer.crop

        def counting(layer, tokens):
            self.removed += -tokens
            self.kept += layer.candidates + tokens
            return crop(layer, tokens)

        monkeypatch.setattr(MemoryLayer, "crop", counting)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("help_", HELP)
def test_text_and_memory_are_those_of_plain_greedy_decoding(help_, mode, monkeypatch):
    model, ids, options = tiny_model(layers=2), repetitive(), HELP[help_]()
    count = Counting(monkeypatch)
    strength = 0.15 if help_ == "draft" else 0.03  # forget little enough to agree at times
    with attach(model, forgetful(strength=strength), MODES[mode]) as attachment:
        plain = model.generate(ids, **OPTIONS)
        expected = states(attachment)
        assisted = model.generate(ids, **OPTIONS, **options)
        seen = attachment.cache.get_seq_length()
        assert assisted.equal(plain)
        assert seen == plain.shape[1] - 1
        same(states(attachment), expected)
    assert count.removed
    assert count.kept or help_ == "prompt lookup"


@pytest.mark.parametrize("help_", ["prompt lookup", "draft"])
def test_a_cache_that_holds_tokens_is_refused(help_):
    """Transformers feeds the whole prompt again, with or without a memory."""
    model, options = tiny_model(layers=2), {**OPTIONS, **HELP[help_]()}
    with attach(model, forgetful()) as attachment:
        model(prompt(TOKENS))
        with pytest.raises(ValueError, match="assisted decoding needs an empty cache"):
            model.generate(prompt(TOKENS + 9), past_key_values=attachment.cache, **options)


def test_plain_decoding_goes_on_after_assisted_decoding():
    model, turn = tiny_model(layers=2), prompt(9, seed=5)
    with attach(model, forgetful()) as attachment:
        found = []
        for options in ({}, HELP["prompt lookup"]()):
            cache = attachment.new_cache()
            first = model.generate(repetitive(), past_key_values=cache, **OPTIONS, **options)
            talk = torch.cat([first, turn], dim=1)
            second = model.generate(talk, past_key_values=cache, **OPTIONS)
            found.append((second, states(attachment)))
    assert found[0][0].equal(found[1][0])
    same(found[0][1], found[1][1])


def test_assisted_sampling_runs():
    model, options = tiny_model(layers=2), {**OPTIONS, **HELP["draft"](), "do_sample": True}
    torch.manual_seed(0)
    with attach(model, forgetful()):
        text = model.generate(repetitive(), **options)
    assert text.shape[1] == TOKENS + NEW


def test_votes_cannot_be_taken_back_and_are_refused():
    model, options = tiny_model(layers=2), HELP["draft"]()
    memory = forgetful(aggregation=Aggregation.vote, prefill_chunk=64)
    with attach(model, memory), pytest.raises(ValueError, match="aggregation=vote"):
        model.generate(repetitive(), **OPTIONS, **options)


def test_an_assistant_with_a_memory_is_refused():
    model = tiny_model(layers=2)
    with attach(model, forgetful()), pytest.raises(ValueError, match="has a memory attached"):
        model.generate(repetitive(), **OPTIONS, assistant_model=model)


class TestTakingBack:
    """What a GPU's generate does: one step too many, then crop(-1)."""

    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("aggregation", list(Aggregation))
    def test_a_step_taken_back_leaves_no_trace(self, mode, aggregation):
        model, ids = tiny_model(layers=2), prompt(TOKENS + NEW)
        memory = forgetful(aggregation=aggregation, prefill_chunk=64)
        with attach(model, memory, MODES[mode]) as attachment:
            expected = []
            cache = attachment.new_cache()
            for part in [ids[:, :TOKENS], *ids[:, TOKENS:].split(1, dim=1)]:
                logits = model(part, past_key_values=cache).logits[:, -1]
                expected.append((logits, states(attachment)))
            cache = attachment.new_cache()
            logits = model(ids[:, :TOKENS], past_key_values=cache).logits[:, -1]
            cache.activate_past_recording()
            for step in range(1, NEW + 1):
                wrong = model(prompt(1, seed=step), past_key_values=cache).logits
                cache.crop(-1)
                assert cache.get_seq_length() == TOKENS + step - 1
                same(states(attachment), expected[step - 1][1])
                assert not wrong[:, -1].equal(logits)
                part = ids[:, TOKENS + step - 1 : TOKENS + step]
                logits = model(part, past_key_values=cache).logits[:, -1]
                cache.crop(0)
                assert (logits - expected[step][0]).abs().max() <= FLOAT64
                same(states(attachment), expected[step][1])

    @pytest.mark.parametrize("aggregation", list(Aggregation))
    def test_a_deferred_stop_gives_the_same_memory(self, monkeypatch, aggregation):
        class Event:
            def __init__(self, **_):
                pass

            def record(self):
                pass

            def synchronize(self):
                pass

        model = tiny_model(layers=2)
        with attach(model, forgetful(aggregation=aggregation)) as attachment:
            text = model.generate(prompt(TOKENS), **OPTIONS)
            options = {**OPTIONS, "eos_token_id": int(text[0, TOKENS + 9])}
            plain = model.generate(
                prompt(TOKENS), past_key_values=attachment.new_cache(), **options
            )
            expected, length = states(attachment), attachment.cache.get_seq_length()
            monkeypatch.setattr(torch, "Event", Event)
            monkeypatch.setattr(DeferredStopCheck, "is_supported", lambda *_, **__: True)
            deferred = model.generate(
                prompt(TOKENS), past_key_values=attachment.new_cache(), **options
            )
            assert deferred.equal(plain) and plain.shape[1] < TOKENS + NEW
            assert attachment.cache.get_seq_length() == length
            same(states(attachment), expected)
            assert not any(layer.record_past for layer in attachment.cache.layers)

    def test_what_was_no_candidate_cannot_be_taken_back(self):
        model = tiny_model(layers=2)
        with attach(model, forgetful()) as attachment:
            model(prompt(TOKENS))
            with pytest.raises(RuntimeError, match="cannot take back 3 tokens"):
                attachment.cache.crop(-3)
            with pytest.raises(ValueError, match="pass a negative number"):
                attachment.cache.crop(5)
            attachment.cache.crop(0)

    def test_a_first_pass_with_unknown_candidates_is_refused(self):
        model = tiny_model(layers=2)
        with attach(model, forgetful()) as attachment:
            cache = attachment.new_cache()
            cache.activate_past_recording()
            with pytest.raises(ValueError, match="logits_to_keep"):
                model(prompt(TOKENS), past_key_values=cache)
