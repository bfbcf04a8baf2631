"""A memory for each key-value head in whole models, and thresholds layer by layer."""

import pytest
import torch
from transformers import AutoTokenizer

from memollm.hf.attachment import attach
from memollm.hf.inspection import token_states
from memollm.hf.subject import HFSubject
from memollm.memory.feedback import Feedback
from memollm.memory.granularity import Granularity, HeadBudgets
from memollm.modes.soft_delete import SoftDelete, Target
from memollm.modes.sparse_attention import SparseAttention, Storage
from memollm.reference import weights_path
from tests.hf.tiny import FLOAT64, forgetful, padded, prompt, tiny_model

TOKENS = 40
BUDGET = {"threshold": "auto", "budget": 0.4}
MEMORIES = {
    "threshold": {},
    "adaptive": {**BUDGET, "head_budgets": HeadBudgets.adaptive},
    "feedback": {"schedule": Feedback(target=0.4)},
}


def by_head(**changes):
    return forgetful(granularity=Granularity.head, **changes)


def kept(attachment, sequence=0):
    """Positions that are still seen: of each layer, of each head."""
    found = []
    for layer in attachment.memory_layers(attachment.cache):
        it = layer.remembering
        rows = range(sequence * it.heads, (sequence + 1) * it.heads)
        found += [
            [sorted(it.slab["position"][row][~it.slab["hidden"][row]].tolist()) for row in rows]
        ]
    return found


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(weights_path())  # of another model; nothing is encoded


@pytest.mark.parametrize("name", MEMORIES)
def test_evicting_is_masking_in_a_batch_of_several_lengths(name):
    model, prompts = tiny_model(layers=2), [prompt(n, seed=n) for n in (TOKENS, 13)]
    found = []
    for storage in Storage:
        with attach(model, by_head(**MEMORIES[name]), SparseAttention(storage)) as attachment:
            text = model.generate(**_inputs(prompts), max_new_tokens=6, eos_token_id=None)
            found.append((text, [kept(attachment, row) for row in range(2)]))
            alone = []
            for ids in prompts:
                model.generate(ids, max_new_tokens=6, eos_token_id=None)
                alone.append(kept(attachment))
            assert alone == found[-1][1]
    assert found[0][0].equal(found[1][0]) and found[0][1] == found[1][1]
    assert any(one != other for row in found[0][1] for one, other in row)
    assert max(len(head) for row in found[0][1] for layer in row for head in layer) < TOKENS


def _inputs(prompts):
    return {name: it for name, it in padded(prompts).items() if name != "position_ids"}


@pytest.mark.parametrize(
    ("family", "mode"),
    [
        ("gpt_oss", SparseAttention()),
        ("gemma2", SoftDelete(Target.logit_bias, floor=0.1)),
        ("gpt2", SparseAttention()),
    ],
)
def test_chunks_of_one_are_single_tokens_whatever_the_architecture(family, mode):
    """Learned sinks, softcaps, and as many key-value heads as query heads."""
    model, ids = tiny_model(family, layers=2), prompt(TOKENS)
    with attach(model, by_head(prefill_chunk=1), mode) as attachment:
        whole = model(ids, output_attentions=True)
        expected = kept(attachment)
        cache = attachment.new_cache()
        single = torch.cat(
            [model(part, past_key_values=cache).logits for part in ids.split(1, dim=1)], dim=1
        )
        assert (whole.logits - single).abs().max() <= FLOAT64
        assert kept(attachment) == expected
    if family == "gemma2":
        weights = whole.attentions[0][0]
        assert weights.shape == (4, TOKENS, TOKENS)
        assert (weights.sum(dim=-1) - 1).abs().max() <= FLOAT64


def test_a_layer_without_forgetting_gives_the_models_own_logits():
    model, ids = tiny_model("gpt_oss", layers=2), prompt(TOKENS)
    with attach(model, forgetful(threshold=0.0)):
        layer = model(ids).logits
    with attach(model, by_head(threshold=0.0)):
        assert (model(ids).logits - layer).abs().max() <= FLOAT64


def test_beams_and_candidates_rearrange_all_heads():
    model, ids = tiny_model(layers=2), prompt(20)
    options = {"max_new_tokens": 6, "eos_token_id": None, "do_sample": False}
    with attach(model, by_head(prefill_chunk=1)):
        plain = model.generate(ids, **options)
        assert model.generate(ids, prompt_lookup_num_tokens=3, **options).equal(plain)
        one = model.generate(ids, num_beams=2, **options)
        both = model.generate(ids.repeat(2, 1), num_beams=2, **options)
        assert both[0].equal(one[0]) and both[1].equal(one[0])


@pytest.mark.parametrize("name", ["threshold", "adaptive"])
def test_what_is_kept_and_held_is_counted_over_heads(tokenizer, name):
    memory = by_head(layer_fraction=0.5, **MEMORIES[name])
    subject = HFSubject(tiny_model(), tokenizer, memory, SparseAttention())
    with subject.session(ledger=True) as session:
        session.forward(prompt(TOKENS))
        use = session.memory_use()
        layers = [it.remembering for it in session.cache.layers[:2]]
        lost = session.forgotten(range(TOKENS))
    for number, layer in enumerate(layers):
        heads = [set(layer.slab["position"][row].tolist()) - {-1} for row in range(2)]
        assert use.kept_tokens[number] == sum(map(len, heads)) / 2
        widest = max(map(len, heads))
        assert layer.slab.length == widest  # the rest of the shorter head's slots are free
        dim, floats = 8, 8
        assert layer.slab.nbytes("keys", "values") == 2 * 2 * widest * dim * floats
        assert layer.nbytes() > layer.slab.nbytes("keys", "values")
        assert {p for p in range(TOKENS) if lost[number][p] is None} == heads[0] | heads[1]
        states = token_states(layer)
        assert set(states.kept.nonzero().flatten().tolist()) == heads[0] | heads[1]
    assert use.kv_bytes == sum(it.nbytes() for it in layers) + 2 * 2 * 2 * TOKENS * 8 * 8
    assert use.kv_bytes_baseline == 4 * 2 * 2 * TOKENS * 8 * 8
    if name == "adaptive":
        assert use.kept_tokens[:2] == [0.4 * TOKENS] * 2


def test_fidelity_loses_the_mass_of_what_each_head_forgot(tokenizer):
    subject = HFSubject(tiny_model(), tokenizer, by_head(layer_fraction=0.5), SparseAttention())
    probe = subject.probe()
    with subject.session() as session:
        session.forward(prompt(TOKENS))
        visible = probe.visible(session)
        layers = [it.remembering for it in session.cache.layers[:2]]
    for number, layer in enumerate(layers):
        for head in range(2):
            positions = set(layer.slab["position"][head].tolist()) - {-1}
            assert set(visible[number][head].nonzero().flatten().tolist()) == positions


def test_every_layers_mask_is_its_own():
    """Thresholds per layer: each layer sees what it keeps by its own number, and no other."""
    model, ids = tiny_model(), prompt(90)
    thresholds = [0.0, 0.2, 0.5, 0.9]
    with attach(
        model, forgetful(threshold=thresholds, recall_threshold=None), SparseAttention(Storage.mask)
    ) as attachment:
        model(ids)
        kept_then = [set(heads[0]) for heads in kept(attachment)]
        out = model(prompt(1, seed=1), past_key_values=attachment.cache, output_attentions=True)
        layers = [it.remembering for it in attachment.memory_layers(attachment.cache)]
    masks = []
    for weights, positions, layer, threshold in zip(
        out.attentions, kept_then, layers, thresholds, strict=True
    ):
        seen = {i for i in range(90) if weights[0, :, 0, i].max() > 0}
        assert seen == positions
        retention = layer.rule.retention(layer.tokens())[0]
        alive = ~layer.slab["forgotten"][0]
        unprotected = (layer.slab["position"][0] >= 1) & (layer.slab["position"][0] < 89)
        assert (retention[alive & unprotected] >= threshold).all()
        masks.append(seen)
    assert len({frozenset(mask) for mask in masks}) == 4
    assert [len(mask) for mask in masks] == sorted((len(mask) for mask in masks), reverse=True)
