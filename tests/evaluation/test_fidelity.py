"""Fidelity: each number against full matrices, and the untouched model against itself."""

import json

import pytest
import torch

from memollm.evaluation.divergence import common, continuation
from memollm.evaluation.fidelity import Fidelity
from memollm.hf.attachment import attach
from memollm.modes.baseline import Baseline
from memollm.modes.soft_delete import SoftDelete
from memollm.modes.sparse_attention import SparseAttention, Storage
from tests.evaluation.reading import reader, subject_of, tokenizer
from tests.evaluation.scripted import Scripted, uniform
from tests.hf.tiny import EAGER, FLOAT64, forgetful

CONTEXT, NEW = 48, 6
LAYERS = ["0", "1", "2"]
PER_LAYER = [
    f"{name}_layer_{i}" for name in ("kept_share", "mass_lost", "output_error") for i in LAYERS
]


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


def measure(novel, mode, memory=None, windows=2):
    subject = subject_of(mode, memory)
    evaluation = Fidelity(text=novel, context=CONTEXT, windows=windows, new_tokens=NEW)
    evaluation.prepare()
    evaluation.check(subject)
    samples = list(evaluation.samples(subject))
    assert len(samples) == evaluation.size(subject) == windows
    assert json.loads(json.dumps(samples)) == samples
    return {name: it.value for name, it in evaluation.metrics(samples).items()}, samples


def first_window(novel):
    with open(novel, encoding="utf-8") as file:
        ids = tokenizer().encode(file.read(), add_special_tokens=False)[:CONTEXT]
    return torch.tensor([ids])


def heads(model, run):
    """What the heads of each layer put out while ``run()`` runs, chunk after chunk."""
    outputs = {}
    hooks = [
        layer.self_attn.o_proj.register_forward_pre_hook(
            lambda _, args, i=i: outputs.setdefault(i, []).append(args[0])
        )
        for i, layer in enumerate(model.model.layers)
    ]
    logits = run()
    for hook in hooks:
        hook.remove()
    return logits, [torch.cat(outputs[i], dim=1) for i in sorted(outputs)]


def test_a_model_does_not_differ_from_itself(novel):
    found, samples = measure(novel, Baseline())
    assert found["kl_mean"] == found["kl_p95"] == found["saved_bytes"] == 0
    assert found["agreement"] == 1 and found["first_divergence"] == NEW
    assert [found[name] for name in PER_LAYER] == [1.0] * 3 + [0.0] * 6
    assert samples[0]["effect"] is None


def test_a_memory_that_forgets_nothing_differs_by_rounding(novel):
    found, samples = measure(novel, SparseAttention(), forgetful(threshold=0.0))
    assert 0 <= found["kl_mean"] <= FLOAT64 and found["agreement"] == 1
    assert all(found[name] <= FLOAT64 for name in PER_LAYER[3:])
    assert samples[0]["effect"]["change"] is None  # nothing was claimed


@pytest.mark.parametrize("mode", [SparseAttention(), SoftDelete(floor=0.1)])
def test_the_numbers_are_those_of_full_matrices(novel, mode):
    found, _ = measure(novel, mode, windows=1)
    subject, model, ids = subject_of(mode), reader(), first_window(novel)
    with subject.session(ledger=True) as session:
        mine, our_heads = heads(model, lambda: session.forward(ids)[0])
        forgotten_at = session.forgotten(range(CONTEXT))
        use = session.memory_use()
    plain, their_heads = heads(model, lambda: model(ids).logits[0])
    p, q = plain.log_softmax(-1), mine.log_softmax(-1)
    kl = (p.exp() * (p - q)).sum(-1)
    assert found["kl_mean"] == pytest.approx(float(kl.mean()), abs=FLOAT64)
    assert found["kl_p95"] == pytest.approx(float(kl.quantile(0.95)), abs=1e-9)
    assert found["agreement"] == float((plain.argmax(-1) == mine.argmax(-1)).double().mean())
    model.set_attn_implementation("eager")
    weights = model(ids, output_attentions=True).attentions
    model.set_attn_implementation("sdpa")
    for layer in range(3):
        gone = torch.zeros(CONTEXT, CONTEXT, dtype=torch.bool)  # query, key
        for key, at in enumerate(forgotten_at[layer] if layer < 2 else []):
            if at is not None and not mode.graded:
                gone[at:, key] = True
        lost = float(weights[layer][0].mean(dim=0).masked_fill(~gone, 0).sum(-1).mean())
        assert found[f"mass_lost_layer_{layer}"] == pytest.approx(lost, abs=EAGER)
        error = (our_heads[layer] - their_heads[layer]).norm() / their_heads[layer].norm()
        assert found[f"output_error_layer_{layer}"] == pytest.approx(float(error), abs=1e-9)
        assert found[f"kept_share_layer_{layer}"] == use.kept_tokens[layer] / CONTEXT
    assert found["saved_bytes"] == use.kv_bytes_baseline - use.kv_bytes
    if mode.graded:
        assert [found[f"kept_share_layer_{i}"] for i in LAYERS] == [1.0] * 3
    else:
        assert found["mass_lost_layer_0"] > 0.05 and found["kept_share_layer_2"] == 1.0
    assert found["kl_mean"] > 1e-3 and found["output_error_layer_2"] > 1e-3


def test_greedy_continuations_are_those_of_generate(novel):
    model, ids = reader(), first_window(novel)
    subject = subject_of(SparseAttention())
    options = {"max_new_tokens": NEW, "min_new_tokens": NEW, "do_sample": False, "pad_token_id": 0}
    theirs = model.generate(ids, **options)[0, CONTEXT:].tolist()
    with attach(model, subject.memory, subject.mode):
        mine = model.generate(ids, **options)[0, CONTEXT:].tolist()
    for it, expected in ((subject, mine), (subject.untouched(), theirs)):
        with it.session() as session:
            logits = session.forward(ids)[0, -1]
        assert continuation(it, session, logits, NEW) == expected
    assert mine != theirs
    found, _ = measure(novel, subject.mode, windows=1)
    assert found["first_divergence"] == common(mine, theirs)


def test_a_mask_is_reported_as_one(novel):
    subject = subject_of(SparseAttention(Storage.mask))
    evaluation = Fidelity(text=novel, context=CONTEXT, windows=1, new_tokens=NEW)
    samples = list(evaluation.samples(subject))
    found = evaluation.metrics(samples)["saved_bytes"]
    assert found.unit == "bytes (masked: saves 0 bytes)" and found.value < 0  # its own state
    assert samples[0]["effect"]["storage"] == "masked: saves 0 bytes"
    evicted, _ = measure(novel, SparseAttention(), windows=1)
    masked, _ = measure(novel, SparseAttention(Storage.mask), windows=1)
    assert evicted["kl_mean"] == pytest.approx(masked["kl_mean"], abs=FLOAT64)


def test_a_resumed_run_ends_with_the_samples_of_an_unbroken_one(novel):
    subject = subject_of(SparseAttention())
    evaluation = Fidelity(text=novel, context=CONTEXT, windows=3, new_tokens=NEW)
    whole = list(evaluation.samples(subject))
    rest = list(evaluation.samples(subject, done={whole[1]["id"]}))
    assert rest == [whole[0], whole[2]]
    with pytest.raises(ValueError, match="has changed since"):
        evaluation.metrics([whole[0], {**whole[1], "text": "another"}])


def test_what_cannot_be_measured_is_refused(novel):
    for fields in ({"context": 1}, {"windows": 0}, {"new_tokens": 0}):
        with pytest.raises(ValueError, match=f"fidelity.{next(iter(fields))}="):
            Fidelity(**fields)
    with pytest.raises(ValueError, match="context=4096 and new_tokens=32 .* 4100 tokens"):
        Fidelity(text=novel).fits("a model", 4100)
    with pytest.raises(ValueError, match="no document of .*context=100000"):
        Fidelity(text=novel, context=100_000).check(Scripted(uniform, max_length=1 << 20))
