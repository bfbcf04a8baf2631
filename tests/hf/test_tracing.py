"""A traced session computes what any session does, and its trace says what the memory did."""

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from memollm.evaluation.streaming import greedy
from memollm.hf.subject import HFSubject
from memollm.hf.tracing import TracedSubject, texts, trace_text
from memollm.memory.ebbinghaus import Aggregation
from memollm.memory.granularity import Granularity
from memollm.modes.baseline import Baseline
from memollm.modes.soft_delete import SoftDelete
from memollm.modes.sparse_attention import SparseAttention
from memollm.policies.h2o import H2O
from memollm.reference import weights_path
from tests.hf.tiny import FLOAT64, forgetful, prompt, tiny_model

# The trace is in float32, and adds up some ten rounded numbers of about 1.
SUMS = 1e-5
MEMORIES = {
    "threshold": {},
    "by head": {"granularity": Granularity.head},
    "budget": {"threshold": "auto", "budget": 9},
    "vote": {"aggregation": Aggregation.vote},
}


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(weights_path())  # of another model; ids are decoded alone


def subject(tokenizer, mode=None, **changes):
    memory = forgetful(**{"layer_fraction": 0.5, **changes})
    return HFSubject(tiny_model(), tokenizer, memory, mode or SparseAttention())


def traced(one, tokens=36, decoded=5, **options):
    watched = TracedSubject(one, **options)
    with watched.session() as session:
        answer = greedy(session, prompt(tokens)[0].tolist(), decoded)
    return watched.trace(tokens), answer


@pytest.mark.parametrize("changes", MEMORIES.values(), ids=MEMORIES)
def test_a_traced_session_answers_and_forgets_as_any_does(tokenizer, changes):
    one = subject(tokenizer, **changes)
    ids = prompt(41)
    with one.session(ledger=True) as session:
        logits = session.forward(ids)
        whole = session.forgotten(range(41))
    watched = TracedSubject(one)
    with watched.session() as session:
        torch.testing.assert_close(session.forward(ids), logits, rtol=0, atol=FLOAT64)
    trace = watched.trace()
    if changes != MEMORIES["by head"]:  # of which a session tells the first head alone
        assert [[at or 0 for at in layer] for layer in whole] == trace.forgotten_at.tolist()
    assert (trace.forgotten_at > 0).any() and (trace.forgotten_at == 0).any()


@pytest.mark.parametrize("changes", MEMORIES.values(), ids=MEMORIES)
def test_strength_is_what_attention_received_adds_up_to(tokenizer, changes):
    trace, _ = traced(subject(tokenizer, **changes))
    assert trace.seen.tolist() == [8, 16, 24, 32, 36, 37, 38, 39, 40]
    gained = 0.03 * trace.received.cumsum(axis=1)
    read = np.arange(40) < trace.seen[:, None]
    assert trace.strength is not None
    np.testing.assert_allclose(trace.strength, (0.03 + gained) * read, rtol=0, atol=SUMS)


def test_tokens_go_when_their_retention_falls_below_the_threshold(tokenizer):
    trace, _ = traced(subject(tokenizer))
    retention = trace.retention()
    assert retention is not None
    for layer, forgotten in enumerate(trace.forgotten_at):
        for step, seen in enumerate(trace.seen):
            for token in range(trace.sinks, seen - trace.recent):
                now = retention[layer, step, token]
                gone = 0 < forgotten[token] <= seen
                died_now = forgotten[token] == seen
                assert now >= 0.3 - 1e-3 if not gone else not died_now or now < 0.3 + 1e-3


def test_each_head_has_a_memory_of_its_own(tokenizer):
    trace, _ = traced(subject(tokenizer, granularity=Granularity.head))
    assert trace.layers == ["0.0", "0.1", "1.0", "1.1"]
    assert not np.array_equal(trace.forgotten_at[0], trace.forgotten_at[1])


def test_a_policy_without_retention_still_tells_who_is_kept(tokenizer):
    choice = {"policy": H2O(), "threshold": None, "budget": 9}
    trace, _ = traced(subject(tokenizer, **choice))
    assert trace.strength is None and trace.retention() is None
    assert ((trace.forgotten_at == 0).sum(axis=1) == 9).all()


def test_what_fades_goes_on_being_told_where_it_is_still_seen(tokenizer):
    trace, _ = traced(subject(tokenizer, SoftDelete()))
    late = (trace.forgotten_at > 0) & (trace.forgotten_at < 30)
    assert late.any() and (trace.received[:, -1][late] > 0).any()


def test_merging_keeps_the_last_step_and_all_attention(tokenizer):
    whole, _ = traced(subject(tokenizer))
    small, _ = traced(subject(tokenizer), raw_bytes=4000)
    assert small.steps_taken == whole.steps_taken == 9 and len(small.seen) < 9
    assert small.seen[-1] == whole.seen[-1]
    assert whole.strength is not None and small.strength is not None
    np.testing.assert_array_equal(small.strength[:, -1], whole.strength[:, -1])
    sums = [it.received.sum(axis=1) for it in (small, whole)]
    np.testing.assert_allclose(*sums, rtol=0, atol=SUMS)


def test_an_earlier_session_goes_on_with_its_trace(tokenizer):
    watched = TracedSubject(subject(tokenizer))
    with watched.session() as first:
        first.forward(prompt(8))
    with watched.session(first) as again:
        again.forward(prompt(8))
    assert watched.trace().seen.tolist() == [8, 16]


def test_what_cannot_be_traced_is_refused(tokenizer):
    with pytest.raises(ValueError, match="has no memory to trace"):
        TracedSubject(subject(tokenizer, Baseline()))
    watched = TracedSubject(subject(tokenizer))
    with pytest.raises(ValueError, match="nothing was read"):
        watched.trace()
    with watched.session() as session, pytest.raises(ValueError, match="one row at a time"):
        session.forward(prompt(8, batch=2))
    with pytest.raises(ValueError, match="takes 1 to 256 tokens"):
        trace_text(subject(tokenizer), "many words " * 200, 0)


@pytest.mark.parametrize("text", ["Once upon a time\n\n  there  was", " a", "<script>\x1b[31m"])
def test_the_texts_of_tokens_are_the_text(tokenizer, text):
    ids = tokenizer.encode(text, add_special_tokens=False)
    found = texts(tokenizer, ids)
    assert len(found) == len(ids) and "".join(found) == tokenizer.decode(ids)
