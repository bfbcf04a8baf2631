"""Speed of a real architecture: it runs, and taking turns changes nothing about a session."""

import math

import pytest
import torch

from memollm.evaluation import bandwidth
from memollm.evaluation.speed import Speed
from memollm.hf.models import RandomModel
from memollm.hf.subject import HFSubject
from memollm.memory.ebbinghaus import Memory
from memollm.modes.sparse_attention import SparseAttention

VOCABULARY = 4096  # no fewer than the bundled tokenizer has
MEMORY = Memory(
    threshold=0.3, strength=0.1, layer_fraction=1.0, prefill_chunk=16,
    reinforcement=0.0, recall_threshold=None,
)  # fmt: skip


@pytest.fixture
def subject():
    settings = dict(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
    )  # fmt: skip
    made = RandomModel(model_type="llama", device="cpu", settings=settings).load()
    return HFSubject(made.model, made.tokenizer, MEMORY, SparseAttention())


def test_a_tiny_model_has_a_speed(subject, novel, monkeypatch):
    monkeypatch.setattr(bandwidth, "BYTES", 2**20)
    before = subject.model.config._attn_implementation
    evaluation = Speed(text=novel, contexts=[64, 128], turns=2, burst=2)
    evaluation.check(subject)
    samples = list(evaluation.samples(subject))
    found = evaluation.metrics(samples)
    assert len(samples) == evaluation.size(subject) == 4
    assert all(math.isfinite(it.value) and it.value >= 0 for it in found.values())
    assert found["kept_tokens"].value < 128 and found["kv_ratio_to_baseline"].value < 1
    assert samples[0]["variants"]["untouched"]["memory"]["kept_tokens"] == [64.0, 64.0]
    assert subject.model.config._attn_implementation == before


def test_sessions_that_take_turns_go_on_as_if_they_were_alone(subject):
    ids = torch.randint(VOCABULARY, (1, 100), generator=torch.Generator().manual_seed(0))
    alone, turns = {}, {}
    both = {"forgetful": subject, "untouched": subject.untouched()}
    for name, it in both.items():
        with it.session() as session:
            session.forward(ids[:, :90])
            alone[name] = [session.forward(ids[:, i : i + 1]) for i in range(90, 100)]
    sessions = {}
    for name, it in both.items():
        with it.session() as sessions[name]:
            sessions[name].forward(ids[:, :90])
    for i in range(90, 100):
        for name, it in both.items():
            with it.session(sessions[name]) as session:
                turns.setdefault(name, []).append(session.forward(ids[:, i : i + 1]))
    for name in both:
        assert torch.equal(torch.cat(alone[name]), torch.cat(turns[name]))
    assert not torch.equal(turns["forgetful"][-1], turns["untouched"][-1])


def test_a_lookup_table_of_its_own_is_not_read_whole(subject):
    parameters = sum(it.numel() for it in subject.model.parameters())
    assert subject.weight_bytes == 4 * (parameters - VOCABULARY * 32)
    subject.model.lm_head.weight = subject.model.model.embed_tokens.weight  # tied
    tied = HFSubject(subject.model, subject.tokenizer, MEMORY, SparseAttention())
    assert tied.weight_bytes == subject.weight_bytes
