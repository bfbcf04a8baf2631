"""Our memory as a press: what it must equal, and what it refuses."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kvpress import StreamingLLMPress
from memollm.hf.attachment import attach
from memollm.kvpress import EbbinghausPress
from memollm.kvpress.inside.positions import with_cache_positions
from memollm.memory.ebbinghaus import Memory
from memollm.modes.sparse_attention import SparseAttention
from memollm.policies.window import Window
from tests.hf.tiny import kept_positions, prompt, tiny_model
from tests.kvpress.inside.scenario import CONTEXT, FAMILY, asked, subject

CONSTANT = {"reinforcement": 0.0, "recall_threshold": None}


def kept(press, ratio, settings, context):
    """Positions that each layer keeps."""
    one = subject(press, ratio, settings)
    with one.session(ledger=True) as session:
        session.forward(context, last_only=True)
    places = list(range(context.shape[1]))
    return [
        [place for place, gone in zip(places, layer, strict=True) if gone is None]
        for layer in session.forgotten(places)
    ]


def remembered(memory, context):
    """Positions that each layer of our own memory keeps of a prompt."""
    model = tiny_model(FAMILY)
    with attach(model, memory, SparseAttention()) as attachment, torch.no_grad():
        model(context, past_key_values=attachment.new_cache())
        return kept_positions(attachment)


@given(tokens=st.integers(40, 90), sinks=st.integers(0, 6), dropped=st.integers(1, 9))
def test_constant_strength_keeps_what_streaming_llm_keeps(tokens, sinks, dropped):
    context, ratio = prompt(tokens, seed=tokens), dropped / 20
    settings = {**CONSTANT, "sinks": sinks, "recent": 5}
    ours = kept("ebbinghaus", ratio, settings, context)
    assert ours == kept("streaming_llm", ratio, {"n_sink": sinks}, context)
    assert len(ours[0]) == int(tokens * (1 - ratio))


@given(tokens=st.integers(40, 90), dropped=st.integers(1, 9))
def test_streaming_llm_is_our_window_at_the_same_budget(tokens, dropped):
    context, ratio = prompt(tokens, seed=tokens), dropped / 20
    budget = int(tokens * (1 - ratio))
    window = Memory(policy=Window(), budget=budget, layer_fraction=1.0, prefill_chunk=tokens)
    assert kept("streaming_llm", ratio, None, context) == remembered(window, context)


@given(tokens=st.integers(40, 90), dropped=st.integers(1, 9), gain=st.floats(0.0, 3.0))
def test_rehearsed_by_all_queries_it_keeps_what_the_memory_keeps_of_one_chunk(
    tokens, dropped, gain
):
    context, ratio = prompt(tokens, seed=tokens), dropped / 20
    rule = {"strength": 0.3, "reinforcement": gain, "recall_threshold": 0.2, "recent": 5}
    budget = int(tokens * (1 - ratio))
    memory = Memory(budget=budget, layer_fraction=1.0, prefill_chunk=tokens, **rule)
    assert kept("ebbinghaus", ratio, {**rule, "queries": tokens}, context) == remembered(
        memory, context
    )


def test_rehearsal_changes_what_is_kept():
    context = prompt(CONTEXT)
    rehearsed = kept("ebbinghaus", 0.5, {"strength": 0.3, "queries": CONTEXT}, context)
    assert rehearsed != kept("ebbinghaus", 0.5, CONSTANT, context)
    assert len({tuple(layer) for layer in rehearsed}) > 1  # each layer decides alone


def test_attention_that_is_given_serves_as_well_as_its_own():
    model, context = tiny_model(FAMILY), prompt(CONTEXT)
    press = EbbinghausPress(0.5, strength=0.3, queries=30)
    scores: list[list[torch.Tensor]] = []
    try:
        for name in ("sdpa", "eager"):
            model.set_attn_implementation(name)
            scores.append(noted(press, model, context))
    finally:
        model.set_attn_implementation("sdpa")
    assert all(one.equal(other) for one, other in zip(*scores, strict=True))


def noted(press, model, context):
    found, score = [], press.score
    press.score = lambda *given: found.append(score(*given)) or found[-1]
    try:
        with press(model), torch.no_grad():
            model(context, use_cache=True)
    finally:
        del press.score
    return found


def test_it_is_a_press_like_any_other():
    model, context = tiny_model(FAMILY), prompt(CONTEXT)
    with EbbinghausPress(0.5)(model), torch.no_grad():
        cache = model(context, use_cache=True).past_key_values
    assert [layer.keys.shape[2] for layer in cache.layers] == [CONTEXT // 2] * 4
    with StreamingLLMPress(0.5)(model), with_cache_positions(model), torch.no_grad():
        assert model(context, use_cache=True).logits.isfinite().all()


def test_what_may_not_be_dropped_must_fit():
    with pytest.raises(ValueError, match="keeps 15 of 120 tokens, fewer than the 20"):
        asked(subject("ebbinghaus", 0.875), prompt(CONTEXT), prompt(3))
