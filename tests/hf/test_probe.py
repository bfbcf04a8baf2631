"""The inside of a subject: windows, outputs and weights against full matrices."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from memollm.attention import kernel
from memollm.hf.attachment import attach
from memollm.hf.subject import HFSubject
from memollm.modes.baseline import Baseline
from memollm.modes.soft_delete import SoftDelete
from memollm.modes.sparse_attention import SparseAttention, Storage
from memollm.reference import weights_path
from tests.hf.tiny import EAGER, FLOAT64, forgetful, kept_positions, prompt, tiny_model

TOKENS = 40
TOKENIZER = AutoTokenizer.from_pretrained(str(weights_path()))


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


def subject_of(mode=None, memory=None, family="qwen3"):
    model = tiny_model(family)
    return HFSubject(model, TOKENIZER, memory or forgetful(), mode or SparseAttention())


def windowed(subject, ids, window, sinks, sizes):
    with subject.probe().windowed(window, sinks) as session:
        return torch.cat([session.forward(part) for part in ids.split(sizes, dim=1)], dim=1)


def masked(model, ids, window, sinks):
    """One forward pass under the whole matrix of who sees whom."""
    i = torch.arange(ids.shape[1])
    seen = ((i[:, None] - i < window) | (i < sinks)) & (i <= i[:, None])
    return model(ids, attention_mask=seen[None, None], use_cache=False).logits


@given(st.integers(1, TOKENS + 3), st.integers(0, 5), st.sampled_from([1, 7, 16, TOKENS]))
def test_a_window_is_a_masked_matrix_in_chunks_of_any_size(window, sinks, size):
    subject, ids = subject_of(), prompt(TOKENS)
    found = windowed(subject, ids, window, sinks, size)
    assert (found - masked(subject.model, ids, window, sinks)).abs().max() <= FLOAT64


def test_a_window_of_the_whole_context_is_the_untouched_model_to_the_last_bit():
    subject, ids = subject_of(), prompt(TOKENS)
    everything = windowed(subject, ids, TOKENS, 0, 8)
    assert windowed(subject, ids, 10 * TOKENS, 4, 8).equal(everything)
    assert (everything - subject.model(ids).logits).abs().max() <= FLOAT64


def test_a_window_is_what_a_memory_of_constant_strength_leaves_token_by_token():
    """Whatever is neither a sink nor recent is forgotten at once; a query also sees itself."""
    memory = forgetful(
        strength=1e-9, recall_threshold=None, reinforcement=0.0, sinks=2, recent=6, prefill_chunk=1
    )
    subject, ids = subject_of(memory=memory), prompt(TOKENS)
    with subject.session() as session:
        forgetting = session.forward(ids)
    assert (windowed(subject, ids, 7, 2, TOKENS) - forgetting).abs().max() <= FLOAT64
    assert (windowed(subject, ids, 8, 2, TOKENS) - forgetting).abs().max() > 1e-3


@pytest.mark.parametrize("family", ["gemma2", "gpt_oss", "qwen3_next"])
def test_windows_of_layers_that_have_windows_of_their_own(family):
    """Those keep the newest pairs alone: what a chunk's size is must not matter."""
    subject, ids = subject_of(memory=forgetful(layer_fraction=0.5), family=family), prompt(TOKENS)
    # a linear layer sums over chunks in an order of its own, and in float32
    close = EAGER * max(1.0, float(subject.model(ids).logits.detach().abs().max()))
    for window in (5, 12):
        whole = windowed(subject, ids, window, 2, TOKENS)
        assert (windowed(subject, ids, window, 2, 1) - whole).abs().max() <= close
        assert (whole - subject.model(ids).logits).abs().max() > 1e-2
    far = windowed(subject, ids, TOKENS, 0, 7)
    assert (far - subject.model(ids).logits).abs().max() <= close


def test_a_window_takes_no_padding():
    with (
        subject_of().probe().windowed(4, 0) as session,
        pytest.raises(ValueError, match="no padding"),
    ):
        session.forward(prompt(4), torch.ones(1, 4, dtype=torch.bool))


def test_weights_and_outputs_are_those_of_the_eager_model():
    subject, ids = subject_of(Baseline()), prompt(TOKENS)
    outputs = []
    hooks = [
        layer.self_attn.o_proj.register_forward_pre_hook(lambda _, args: outputs.append(args[0]))
        for layer in subject.model.model.layers
    ]
    subject.model.set_attn_implementation("eager")
    weights = subject.model(ids, output_attentions=True).attentions
    subject.model.set_attn_implementation("sdpa")
    for hook in hooks:
        hook.remove()
    with subject.probe().watching() as sight:
        logits = sight.session.forward(ids)
    assert (logits - subject.model(ids).logits).abs().max() <= FLOAT64
    for layer in range(4):
        assert (sight.weights[layer] - weights[layer]).abs().max() <= EAGER
        close = EAGER * float(outputs[layer].abs().max())
        assert (sight.outputs[layer].flatten(2) - outputs[layer]).abs().max() <= close


@pytest.mark.parametrize("mode", [SparseAttention(), SparseAttention(Storage.mask), SoftDelete()])
def test_watching_a_memory_changes_nothing(mode):
    subject, ids = subject_of(mode, forgetful(layer_fraction=0.5)), prompt(TOKENS)
    with subject.session() as session:
        whole = session.forward(ids)
    with subject.probe().watching() as sight:
        # of layers without memory weights are wanted, which a kernel of its own computes
        assert (sight.session.forward(ids) - whole).abs().max() <= FLOAT64
    assert set(sight.outputs) == {0, 1, 2, 3} and set(sight.weights) == {2, 3}
    assert subject.model.config._attn_implementation == "sdpa"


def test_visible_is_what_the_slabs_hold():
    subject, ids = subject_of(), prompt(TOKENS)
    probe = subject.probe()
    with subject.session() as session:
        assert probe.visible(session) == {}
        session.forward(ids)
    with attach(subject.model, subject.memory, subject.mode) as attachment:
        subject.model(ids, past_key_values=attachment.new_cache())
        kept = kept_positions(attachment)
    found = {
        layer: seen.nonzero().flatten().tolist() for layer, seen in probe.visible(session).items()
    }
    assert found == dict(enumerate(kept)) and len(probe.visible(session)[0]) == TOKENS


@pytest.mark.parametrize(
    ("mode", "attenuates"),
    [(SparseAttention(), False), (SoftDelete(), True), (SoftDelete(floor=1.0), False)],
)
def test_who_attenuates(mode, attenuates):
    subject = subject_of(mode)
    with subject.session() as session:
        session.forward(prompt(TOKENS))
    assert subject.probe().attenuates(session) is attenuates


@pytest.mark.parametrize(
    "memory", [forgetful(), forgetful(reinforcement=0.0, recall_threshold=None)]
)
def test_a_twin_runs_the_same_machinery_and_forgets_nothing(memory):
    ids, twin = prompt(TOKENS), subject_of(memory=memory).probe().twin()
    with twin.session() as session:
        logits = session.forward(ids)
    assert session.memory_use().kept_tokens == [TOKENS] * 4 and twin.has_memory
    assert (logits - twin.model(ids).logits).abs().max() <= FLOAT64
    assert not subject_of(Baseline()).probe().twin().has_memory


def test_the_kernel_is_the_projects_own(monkeypatch):
    """A second way of computing attention would not notice."""
    calls = []
    monkeypatch.setattr(
        "memollm.hf.attention.attend", lambda *args: calls.append(1) or kernel.attend(*args)
    )
    with subject_of(Baseline()).probe().watching() as sight:
        sight.session.forward(prompt(4))
    assert len(calls) == 4
