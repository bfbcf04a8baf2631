"""When a session forgot what: as the plain-Python oracle says, and at no cost to its answers."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from memollm.evaluation.asking import forgotten
from memollm.hf.remembering import Remembering
from memollm.hf.subject import HFSubject
from memollm.memory.oracle import Oracle
from memollm.modes.baseline import Baseline
from memollm.modes.soft_delete import SoftDelete
from memollm.modes.sparse_attention import SparseAttention, Storage
from memollm.reference import weights_path
from tests.hf.tiny import forgetful, prompt, tiny_model

CHUNK = 8


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(weights_path())  # of another model; nothing is encoded


def oracle(memory, passes):
    """When each token is forgotten, for one layer whose queries, keys and values are given."""
    found = {}
    told = Oracle(
        memory.strength, memory.time_step, memory.reinforcement, memory.recall_threshold,
        memory.threshold if memory.budget is None else 0.0, memory.budget,
        memory.sinks, memory.recent,
    )  # fmt: skip
    for qkv in passes:
        rows = [tensor[0].transpose(0, 1).tolist() for tensor in qkv]
        for start in range(0, len(rows[0]), memory.prefill_chunk):
            told.chunk(*(row[start : start + memory.prefill_chunk] for row in rows))
            dying = told.ballot()
            told.settle(dying)
            found |= dict.fromkeys(dying, len(told.tokens))
    return [found.get(position) for position in range(len(told.tokens))]


@given(
    seed=st.integers(0, 99),
    tokens=st.integers(2, 26),
    decoded=st.integers(0, 6),
    storage=st.sampled_from(Storage),
    budget=st.sampled_from([None, 0.4, 9]),
)
def test_tokens_are_forgotten_when_the_oracle_forgets_them(
    tokenizer, seed, tokens, decoded, storage, budget
):
    choice = {} if budget is None else {"threshold": "auto", "budget": budget}
    memory = forgetful(prefill_chunk=CHUNK, layer_fraction=0.5, **choice)
    subject = HFSubject(tiny_model(), tokenizer, memory, SparseAttention(storage))
    seen = {}  # layer: queries, keys and values of each pass
    forward = Remembering.forward

    def noting(self, queries, keys, values, *rest, **more):
        seen.setdefault(id(self), []).append((queries.clone(), keys.clone(), values.clone()))
        return forward(self, queries, keys, values, *rest, **more)

    ids = prompt(tokens + decoded, seed=seed)
    with pytest.MonkeyPatch.context() as patch, subject.session(ledger=True) as session:
        patch.setattr(Remembering, "forward", noting)
        session.forward(ids[:, :tokens])
        for i in range(tokens, tokens + decoded):
            session.forward(ids[:, i : i + 1])
    found = session.forgotten(range(tokens + decoded))
    assert found == [oracle(memory, passes) for passes in seen.values()]
    kept = [layer.count(None) for layer in found]
    assert kept == session.memory_use().kept_tokens[: len(kept)]
    spans = [(0, 1), (tokens - 1, tokens + decoded)]
    for layer, listed in zip(found, forgotten(session, spans), strict=True):
        places = [0, *range(tokens - 1, tokens + decoded)]
        assert listed == [None if layer[i] is None else [i, layer[i]] for i in places]


def test_a_ledger_changes_no_answer_and_is_off_unless_asked_for(tokenizer):
    subject = HFSubject(tiny_model(), tokenizer, forgetful(), SparseAttention())
    with subject.session() as plain:
        expected = plain.forward(prompt(40))
    with subject.session(ledger=True) as noting:
        assert torch.equal(noting.forward(prompt(40)), expected)
    assert all(layer.remembering.ledger is None for layer in plain.cache.layers)
    with pytest.raises(RuntimeError, match="open it with ledger=True"):
        plain.forgotten([0])
    assert noting.forgotten([]) == [[]] * 4


def test_who_has_no_memory_layers_forgets_in_none(tokenizer):
    with HFSubject(tiny_model(), tokenizer, forgetful(), Baseline()).session(
        ledger=True
    ) as session:
        session.forward(prompt(10))
        assert session.forgotten(range(10)) == []


def test_what_is_attenuated_counts_as_forgotten_below_the_threshold(tokenizer):
    memory = forgetful(reinforcement=0.0, recall_threshold=None)
    with HFSubject(tiny_model(), tokenizer, memory, SoftDelete()).session(ledger=True) as session:
        session.forward(prompt(40))
    layer = session.forgotten(range(40))[0]
    # exp(-0.01 n / 0.03) < 0.3 from age 4 on, seen at the end of a chunk of 8; 1 sink, 2 recent
    assert layer[:9] == [None, 8, 8, 8, 16, 16, 16, 16, 16]
