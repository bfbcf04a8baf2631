"""Sessions under a press: positions, counts, and the defects of kvpress that are guarded."""

import pytest
import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from memollm.kvpress.inside.patching import ORIGINAL, PATCHED
from tests.hf.tiny import FLOAT64, prompt, tiny_model
from tests.kvpress.inside.scenario import (
    CONTEXT,
    FAMILY,
    QUESTION,
    REAL,
    asked,
    masked,
    subject,
    window,
)

KEPT = CONTEXT // 2
# float64: 2 key-value heads of 8 numbers, keys and values
PAIR = 2 * 2 * 8 * 8


@pytest.fixture
def context():
    return prompt(CONTEXT)


@pytest.fixture
def question():
    return prompt(QUESTION, seed=1)


@pytest.mark.parametrize("pieces", [QUESTION, 4, 1])
def test_what_is_dropped_is_masked_and_positions_go_on(context, question, pieces):
    logits, _ = asked(subject("streaming_llm"), context, question, pieces)
    dense = masked(context, question, window(CONTEXT, KEPT))
    assert (logits - dense).abs().max() <= FLOAT64


def test_pairs_behind_fake_keys_are_masked_and_save_nothing(context, question):
    logits, session = asked(
        subject("adakv", settings={"press": "streaming_llm"}), context, question
    )
    if not REAL:  # the real one lets heads share their budget: other pairs, same number
        dense = masked(context, question, window(CONTEXT, KEPT))
        assert (logits - dense).abs().max() <= FLOAT64
    full, _ = asked(subject("streaming_llm", 0.0), context, question)
    assert (logits - full).abs().max() > 1e-3  # not a dead method


def test_realised_tokens_and_bytes_are_counted(context):
    for press, settings in (("streaming_llm", None), ("adakv", {"press": "streaming_llm"})):
        with subject(press, 0.75, settings).session() as session:
            session.forward(context, last_only=True)
            use = session.memory_use()
        assert use.kept_tokens == [CONTEXT / 4] * 4 and use.seen_tokens == CONTEXT
        assert use.kv_bytes_baseline == 4 * CONTEXT * PAIR
        if settings is None:
            assert use.kv_bytes == use.kv_bytes_baseline / 4
        else:  # a fake key takes the place of the one it hides
            assert use.kv_bytes > use.kv_bytes_baseline


def test_a_view_keeps_what_it_looks_at(context):
    with subject("tests.kvpress.inside.presses.Narrow").session() as session:
        session.forward(context, last_only=True)
        use = session.memory_use()
    assert use.kept_tokens == [1.0] * 4 and use.kv_bytes == use.kv_bytes_baseline


def test_layers_may_differ_in_length(context, question):
    settings = {"window_size": 8} if REAL else None
    whole, session = asked(subject("pyramidkv", settings=settings), context, question)
    assert len(set(session.memory_use().kept_tokens)) > 1
    assert whole.isfinite().all()
    assert (
        (whole - asked(subject("pyramidkv", settings=settings), context, question, 1)[0])
        .eq(0)
        .all()
    )


def test_fake_keys_that_attention_would_see_are_refused(context):
    one = subject("tests.kvpress.inside.presses.Hiding")
    one.model.set_attn_implementation("eager")
    try:
        with (
            pytest.raises(ValueError, match="nothing would be forgotten"),
            one.session() as session,
        ):
            session.forward(context, last_only=True)
    finally:
        one.model.set_attn_implementation("sdpa")


def test_sessions_that_take_turns_do_not_meet(context, question):
    one = subject("adakv", settings={"press": "streaming_llm"})
    alone, _ = asked(one, context, question, 1)
    with one.session() as first:
        first.forward(context, last_only=True)
    with one.session() as second:
        second.forward(prompt(CONTEXT, seed=2), last_only=True)
    with one.untouched().session() as third:
        third.forward(context, last_only=True)
    with one.session(first):
        again = torch.cat([first.forward(part) for part in question.split(1, dim=1)], dim=1)
    assert again.equal(alone)


def test_padding_is_refused(context):
    mask = torch.ones_like(context, dtype=torch.bool)
    mask[0, 0] = False
    with (
        pytest.raises(ValueError, match="no padding"),
        subject("streaming_llm").session() as session,
    ):
        session.forward(context, mask, last_only=True)


def test_a_context_cannot_be_scored(context):
    with (
        pytest.raises(ValueError, match="no logits of its context"),
        subject("streaming_llm").session() as session,
    ):
        session.forward(context)


def test_a_context_that_is_too_short_is_refused_by_name():
    with (
        pytest.raises(ValueError, match="StreamingLLMPress refuses a context of 3 tokens"),
        subject("streaming_llm").session() as session,
    ):
        session.forward(prompt(3), last_only=True)


def test_the_untouched_model_has_its_own_attention_back(context):
    untouched = subject("streaming_llm").untouched()
    with untouched.session() as session:
        assert ALL_ATTENTION_FUNCTIONS["sdpa"] is ORIGINAL["sdpa"] is not PATCHED["sdpa"]
        logits = session.forward(context)
    assert ALL_ATTENTION_FUNCTIONS["sdpa"] is PATCHED["sdpa"]
    assert logits.equal(tiny_model(FAMILY)(context).logits)


def test_draws_are_decided_by_seed_and_context(context, question):
    first, _ = asked(subject("random"), context, question)
    asked(subject("random"), question, context)
    torch.rand(3)
    assert asked(subject("random"), context, question)[0].equal(first)
    assert not asked(subject("random", seed=1), context, question)[0].equal(first)


def test_presses_that_need_attention_weights_get_them(context, question):
    logits, session = asked(subject("observed_attention"), context, question)
    assert logits.isfinite().all() and session.memory_use().kept_tokens == [KEPT + QUESTION] * 4
    assert session.model.config._attn_implementation == "sdpa"


def test_a_ledger_says_what_is_gone(context, question):
    _, session = asked(subject("streaming_llm"), context, question)
    places = [0, 3, 4, CONTEXT - KEPT + 3, CONTEXT - KEPT + 4, CONTEXT + 2]
    assert session.forgotten(places) == [[None, None, CONTEXT, CONTEXT, None, None]] * 4
    _, session = asked(subject("tests.kvpress.inside.presses.Hiding"), context, question)
    assert session.forgotten([0, 1, CONTEXT - 1]) == [[CONTEXT, CONTEXT, None]] * 4
    with subject("streaming_llm").session() as silent, pytest.raises(RuntimeError, match="ledger"):
        silent.forgotten([0])


def test_keys_that_are_turned_anew_stand_side_by_side(context, question):
    logits, session = asked(
        subject("key_rerotation", settings={"press": "streaming_llm"}), context, question
    )
    if not REAL:  # which does not turn them: the question stands at other positions than before
        apart, _ = asked(subject("streaming_llm"), context, question)
        assert (logits - apart).abs().max() > 1e-3
        return
    assert session.forgotten([0]) == []  # nobody can tell


@pytest.mark.skipif(not REAL, reason="the fake press does not turn keys")
def test_turned_keys_are_those_of_a_shorter_text(question):
    """In one layer, where a key knows only its own token, what is left is a text of its own."""
    context = prompt(CONTEXT)
    one = subject("key_rerotation", settings={"press": "streaming_llm"}, layers=1)
    left = context[:, window(CONTEXT, KEPT)]
    with torch.no_grad():
        short = tiny_model(FAMILY, layers=1)(torch.cat([left, question], dim=1)).logits[:, KEPT:]
    # kvpress takes cosines in float32
    assert (asked(one, context, question)[0] - short).abs().max() <= 1e-4
