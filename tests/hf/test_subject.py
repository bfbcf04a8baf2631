"""HFSubject and its sessions: the model as evaluations see it."""

import pytest
import torch
from transformers import AutoTokenizer

from memollm.hf.attachment import attach
from memollm.hf.subject import HFSubject
from memollm.memory.aggregation import Council
from memollm.memory.ebbinghaus import Aggregation, Memory
from memollm.modes.baseline import Baseline
from memollm.modes.soft_delete import SoftDelete
from memollm.modes.sparse_attention import SparseAttention, Storage
from memollm.reference import weights_path
from tests.hf.tiny import FLOAT64, forgetful, padded, prompt, tiny_model

TOKENS = 40
MODES = {"baseline": Baseline(), "soft_delete": SoftDelete(floor=0.1), "sparse": SparseAttention()}
# float64: 2 heads of 8 numbers, keys and values; position and last recall in 32 bits, strength in
# float64, forgotten and hidden a byte each
PAIR, STATE = 2 * 2 * 8 * 8, 4 + 4 + 8 + 1 + 1


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(str(weights_path()))


def subject_of(tokenizer, mode, memory=None, family="qwen3"):
    return HFSubject(tiny_model(family), tokenizer, memory or forgetful(layer_fraction=0.5), mode)


@pytest.fixture(params=MODES)
def subject(request, tokenizer):
    return subject_of(tokenizer, MODES[request.param])


def feed(subject, ids, sizes):
    with subject.session() as session:
        parts = [session.forward(part) for part in ids.split(sizes, dim=1)]
        return torch.cat(parts, dim=1), session.memory_use()


def test_it_says_what_it_is(subject):
    assert subject.name == "Qwen3ForCausalLM"
    assert subject.max_length == 256 and subject.prefill_chunk == 8
    assert subject.has_memory == (not isinstance(subject.mode, Baseline))


def test_pieces_are_one_forward_pass(tokenizer):
    subject, ids = subject_of(tokenizer, Baseline()), prompt(TOKENS)
    whole, _ = feed(subject, ids, TOKENS)
    assert whole.equal(tiny_model()(ids).logits)
    for sizes in (1, 7, [30, 9, 1]):
        assert (feed(subject, ids, sizes)[0] - whole).abs().max() <= FLOAT64


@pytest.mark.parametrize("mode", ["soft_delete", "sparse"])
def test_pieces_of_whole_chunks_are_one_forward_pass(tokenizer, mode):
    subject, ids = subject_of(tokenizer, MODES[mode]), prompt(TOKENS)
    whole, use = feed(subject, ids, TOKENS)
    for sizes in (8, 16, [24, 16]):
        logits, again = feed(subject, ids, sizes)
        assert (logits - whole).abs().max() <= FLOAT64 and again == use
    assert (whole - subject.untouched().model(ids).logits).abs().max() > 0.1


def test_rows_of_a_padded_batch_are_as_alone(subject):
    prompts = [prompt(30), prompt(13, seed=1), prompt(21, seed=2)]
    more = prompt(3, batch=3, seed=3)
    batch = padded(prompts)
    mask = batch["attention_mask"].bool()
    with subject.session() as session:
        first = session.forward(batch["input_ids"], mask)
        second = torch.cat([session.forward(part) for part in more.split(1, dim=1)], dim=1)
    for row, ids in enumerate(prompts):
        with subject.session() as session:
            alone = session.forward(ids)[0]
            assert (first[row, -len(alone) :] - alone).abs().max() <= FLOAT64
            parts = more[row : row + 1].split(1, dim=1)
            after = torch.cat([session.forward(part) for part in parts], dim=1)[0]
        assert (second[row] - after).abs().max() <= FLOAT64


def test_the_last_logits_alone(subject):
    ids = prompt(TOKENS)
    with subject.session() as session:
        whole = session.forward(ids)
    with subject.session() as session:
        last = session.forward(ids, last_only=True)
    assert last.shape == (1, 1, whole.shape[2])
    assert (last - whole[:, -1:]).abs().max() <= FLOAT64


def test_the_last_logits_of_a_model_that_cannot_leave_the_others_out(tokenizer):
    class Whole(type(tiny_model())):
        def forward(self, input_ids=None, attention_mask=None, past_key_values=None, **kwargs):
            assert "logits_to_keep" not in kwargs
            return super().forward(input_ids, attention_mask, None, past_key_values, **kwargs)

    model = Whole(tiny_model().config).double().eval()
    model.load_state_dict(tiny_model().state_dict())
    subject = HFSubject(model, tokenizer, forgetful(), SparseAttention())
    with subject.session() as session:
        last = session.forward(prompt(TOKENS), last_only=True)
    with subject_of(tokenizer, SparseAttention(), forgetful()).session() as session:
        whole = session.forward(prompt(TOKENS))
    assert (last - whole[:, -1:]).abs().max() <= FLOAT64


def test_votes_are_cast_after_each_chunk(tokenizer):
    memory = forgetful(aggregation=Aggregation.vote)
    subject, ids = subject_of(tokenizer, SparseAttention(), memory), prompt(TOKENS)
    whole, use = feed(subject, ids, TOKENS)
    for sizes in (8, [32, 8]):
        logits, again = feed(subject, ids, sizes)
        assert (logits - whole).abs().max() <= FLOAT64 and again == use
    assert len(set(use.kept_tokens)) == 1 and use.kept_tokens[0] < TOKENS / 2
    with subject.session() as session:
        assert session.forward(ids, last_only=True).shape[1] == 1
        council = session.cache.layers[0].remembering.council
        assert isinstance(council, Council)


class TestMemoryUse:
    def test_of_a_baseline(self, tokenizer):
        _, use = feed(subject_of(tokenizer, Baseline()), prompt(TOKENS, batch=2), TOKENS)
        assert use.kept_tokens == [TOKENS] * 4 and use.seen_tokens == TOKENS
        assert use.kv_bytes == use.kv_bytes_baseline == 4 * 2 * TOKENS * PAIR

    def test_of_eviction(self, tokenizer):
        subject = subject_of(tokenizer, SparseAttention())
        with subject.session() as session:
            session.forward(prompt(TOKENS))
            use = session.memory_use()
            kept = [
                len(layer.remembering.slab["position"][0]) for layer in session.cache.layers[:2]
            ]
        assert use.kept_tokens == [*kept, TOKENS, TOKENS] and max(kept) < TOKENS / 2
        assert use.kv_bytes == sum(kept) * (PAIR + STATE) + 2 * TOKENS * PAIR
        assert use.kv_bytes_baseline == 4 * TOKENS * PAIR
        assert use.seen_tokens == TOKENS

    def test_of_a_mask_nothing_is_freed(self, tokenizer):
        _, use = feed(subject_of(tokenizer, SparseAttention(Storage.mask)), prompt(TOKENS), TOKENS)
        assert use.kv_bytes == 4 * TOKENS * PAIR + 2 * TOKENS * STATE
        assert max(use.kept_tokens[:2]) < TOKENS / 2

    def test_of_soft_deletion_all_is_kept_and_a_weight_more(self, tokenizer):
        _, use = feed(subject_of(tokenizer, SoftDelete()), prompt(TOKENS), TOKENS)
        assert use.kept_tokens == [TOKENS] * 4
        assert use.kv_bytes == 4 * TOKENS * PAIR + 2 * TOKENS * (STATE + 8)

    def test_pads_are_not_counted(self, subject):
        batch = padded([prompt(30), prompt(10, seed=1)])
        with subject.session() as session:
            session.forward(batch["input_ids"], batch["attention_mask"].bool())
            use = session.memory_use()
        assert use.seen_tokens == 30
        assert use.kv_bytes_baseline == 4 * 40 * PAIR
        assert use.kept_tokens[2:] == [20.0, 20.0]
        if not subject.has_memory:
            assert use.kv_bytes == use.kv_bytes_baseline

    def test_of_layers_that_stay_native(self, tokenizer):
        memory = forgetful(layer_fraction=0.5)
        subject = subject_of(tokenizer, SparseAttention(), memory, "gemma2")
        _, use = feed(subject, prompt(TOKENS), [TOKENS - 1, 1])
        assert use.kept_tokens[1:] == [7, TOKENS, 7]  # windows of 8, the query's own among them
        assert use.kept_tokens[0] < TOKENS / 2

    def test_of_an_unused_session_it_is_nothing(self, subject):
        with subject.session() as session:
            use = session.memory_use()
        assert use.seen_tokens == use.kv_bytes == use.kv_bytes_baseline == 0
        assert not any(use.kept_tokens)


def test_untouched_is_the_plain_model(subject):
    ids = prompt(TOKENS)
    untouched = subject.untouched()
    assert not untouched.has_memory and untouched.name == subject.name
    with untouched.session() as session:
        assert session.forward(ids).equal(subject.model(ids).logits)


def test_sessions_take_turns(subject):
    """One is left, the untouched model runs, and the first goes on where it was."""
    ids, plain = prompt(TOKENS), subject.untouched()
    with subject.session() as session:
        whole = torch.cat([session.forward(part) for part in ids.split(8, dim=1)], dim=1)
    with subject.session() as mine:
        parts = [mine.forward(ids[:, :8])]
    with plain.session() as theirs:
        others = [theirs.forward(ids[:, :8])]
    for part in ids[:, 8:].split(8, dim=1):
        with subject.session(mine) as session:
            assert session is mine
            parts.append(session.forward(part))
        with plain.session(theirs) as session:
            others.append(session.forward(part))
    assert torch.cat(parts, dim=1).equal(whole)
    assert (torch.cat(others, dim=1) - subject.model(ids).logits).abs().max() <= FLOAT64


def test_what_cannot_be_honoured_is_refused_at_once(tokenizer):
    with pytest.raises(ValueError, match=r"layer_fraction=0\.1"):
        subject_of(tokenizer, SparseAttention(), Memory(layer_fraction=0.1))


def test_a_session_leaves_the_model_as_it_was(subject):
    before = subject.model.config._attn_implementation
    with pytest.raises(ZeroDivisionError), subject.session() as session:
        session.forward(prompt(4))
        raise ZeroDivisionError
    assert subject.model.config._attn_implementation == before
    with attach(subject.model, forgetful()):
        subject.model(prompt(4))
