"""The mode as it is typed: ratio and budget, identity, and the evaluations that feel a press."""

import math
import sys

import pytest
import torch

from memollm import identity
from memollm.evaluation.continuation import Continuation
from memollm.evaluation.needle import NeedleInAHaystack
from memollm.evaluation.perplexity import Perplexity
from memollm.hf.attachment import attach
from memollm.kvpress import process
from memollm.kvpress.mode import KVPress
from memollm.kvpress.suited import require_suited
from memollm.loading import Models
from memollm.memory.ebbinghaus import Memory
from memollm.policies.window import Window
from tests.hf.tiny import prompt, tiny_model
from tests.scripted import cell


def test_a_budget_is_what_the_ratio_leaves():
    mode = KVPress("snapkv")
    cell(mode=mode, memory=Memory(budget=0.25))
    assert mode.compression_ratio == 0.75


@pytest.mark.parametrize(
    ("mode", "memory", "words"),
    [
        (KVPress("snapkv", 0.5), Memory(budget=0.25), "not allowed together"),
        (KVPress("snapkv"), Memory(budget=64), "budget=64 is not allowed with mode=kvpress"),
        (KVPress("snapkv", 0.5), Memory(budget=0.5, policy=Window()), "policy=window"),
    ],
)
def test_settings_of_the_memory_that_a_press_cannot_have_are_refused(mode, memory, words):
    with pytest.raises(ValueError, match=words):
        mode.check(memory)


@pytest.mark.parametrize("ratio", [-0.1, 1.0, math.nan])
def test_a_ratio_outside_of_its_range_is_refused(ratio):
    with pytest.raises(ValueError, match="mode.compression_ratio=.* must lie in"):
        KVPress("snapkv", ratio)


def test_settings_are_names_with_values():
    assert KVPress("snapkv").settings == {}
    with pytest.raises(ValueError, match="mode.settings=64 is not allowed"):
        KVPress("snapkv", 0.5, 64)


def test_two_cells_are_the_same_whatever_the_memory_that_plays_no_part():
    one = cell(mode=KVPress("snapkv", 0.5), memory=Memory(sinks=2))
    other = cell(mode=KVPress("snapkv", 0.5), memory=Memory(sinks=3))
    third = cell(mode=KVPress("snapkv", 0.5, {"window_size": 8}))
    assert identity.evaluation_hashes(one) == identity.evaluation_hashes(other)
    assert identity.evaluation_hashes(one) != identity.evaluation_hashes(third)
    assert identity.described(one)["memory"] == {}  # and not None, which a baseline has


def test_the_version_of_kvpress_is_part_of_a_cells_identity(monkeypatch):
    mode = KVPress("snapkv", 0.5)
    before = identity.evaluation_hashes(cell(mode=mode))
    monkeypatch.setattr(KVPress, "fingerprint", lambda self: "another version")
    assert identity.evaluation_hashes(cell(mode=mode)) != before


def test_evaluations_that_stream_are_refused_all_at_once():
    streaming = {"perplexity": Perplexity(), "needle": NeedleInAHaystack(), "lm_eval": Perplexity()}
    with pytest.raises(ValueError) as refusal:
        require_suited(streaming)
    for words in ("perplexity streams", "type evaluation.needle.asking=unseen", "lm_eval streams"):
        assert words in str(refusal.value)
    unseen = NeedleInAHaystack(asking=type(NeedleInAHaystack().asking)("unseen"))
    require_suited({"needle": unseen, "continuation": Continuation()})


def test_it_cannot_act_in_this_process():
    with pytest.raises(ValueError, match="acts in a process of its own"):
        Models().subject(None, Memory(), KVPress("snapkv", 0.5))
    model = tiny_model()
    with (
        pytest.raises(ValueError, match="mode=kvpress cannot be attached"),
        attach(model, Memory(layer_fraction=1.0, prefill_chunk=8), KVPress("snapkv", 0.5)),
        torch.no_grad(),
    ):
        model(prompt(40))


def test_a_missing_kvpress_is_said_at_once(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="kvpress is not installed .*: pip install"):
        process.running()
    assert "kvpress" not in sys.modules
