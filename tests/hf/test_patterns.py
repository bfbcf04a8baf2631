"""Sparse patterns on whole models: alone, and together with a memory that forgets."""

import pytest
import torch

from memollm.attention.patterns import attending
from memollm.attention.patterns.base import PositionalPattern
from memollm.hf.attachment import attach
from memollm.memory.granularity import Granularity
from memollm.modes.pattern import PatternMode
from memollm.modes.sparse_attention import SparseAttention, Storage
from memollm.registry import groups, import_parts
from tests.attention.patterns.definitions import DEFINITIONS, SMALL
from tests.hf.tiny import FLOAT64, forgetful, kept_positions, padded, prompt, states, tiny_model

import_parts("attention.patterns")
PARTS = groups()["pattern"]
TOKENS = 40


# One of each kind: windows, kin, global queries, drawn blocks, codes, scores.
KINDS = ["local", "dilated", "global", "random", "lsh", "topk"]


@pytest.fixture(params=KINDS)
def pattern(request):
    return PARTS[request.param](**SMALL[request.param][0])


def logits(pattern, ids, parts=None, **changes):
    """Of a pattern alone, in every layer; ``parts``: lengths of the forward passes."""
    model = tiny_model(layers=2)
    with attach(model, forgetful(pattern=pattern, **changes), PatternMode()) as attachment:
        cache, found = attachment.new_cache(), []
        for part in ids.split(parts or [ids.shape[1]], dim=1):
            found.append(model(part, past_key_values=cache).logits)
    return torch.cat(found, dim=1)


@pytest.mark.parametrize("name", sorted(DEFINITIONS))
@pytest.mark.parametrize("which", [0, -1])
def test_it_is_the_model_under_the_patterns_mask(name, which):
    pattern = PARTS[name](**SMALL[name][which])
    rule, ids = DEFINITIONS[name], prompt(TOKENS)
    rows = [[k <= q and rule(pattern, q, k) for k in range(TOKENS)] for q in range(TOKENS)]
    model = tiny_model(layers=2)
    with torch.no_grad():
        expected = model(ids, attention_mask=torch.tensor(rows)[None, None]).logits
    assert (logits(pattern, ids) - expected).abs().max() <= FLOAT64


@pytest.mark.parametrize(
    ("name", "settings"), [("full", {}), ("topk", {"tokens": 40}), ("lsh", {"buckets": 1})]
)
def test_a_pattern_that_hides_nothing_is_the_untouched_model(name, settings):
    ids = prompt(TOKENS)
    with torch.no_grad():
        dense = tiny_model(layers=2)(ids).logits
    assert (logits(PARTS[name](**settings), ids) - dense).abs().max() <= FLOAT64


def test_however_a_text_is_cut_it_reads_the_same(pattern):
    ids = prompt(TOKENS)
    whole = logits(pattern, ids)
    assert (logits(pattern, ids, prefill_chunk=64) - whole).abs().max() <= FLOAT64
    assert (logits(pattern, ids, [1] * TOKENS) - whole).abs().max() <= FLOAT64
    assert (logits(pattern, ids, [23, 16, 1]) - whole).abs().max() <= FLOAT64


def test_the_memory_does_not_care_how_decoding_is_cut_either(pattern):
    """Chunks of one token: a prompt is what decoding it would be."""
    model, ids = tiny_model(layers=2), prompt(TOKENS)
    memory = forgetful(pattern=pattern, prefill_chunk=1)
    with attach(model, memory) as attachment:
        whole = model(ids).logits
        kept = kept_positions(attachment)
        cache = attachment.new_cache()
        steps = [model(part, past_key_values=cache).logits for part in ids.split(1, dim=1)]
        assert kept_positions(attachment) == kept
    assert (torch.cat(steps, dim=1) - whole).abs().max() <= FLOAT64
    assert len(kept[0]) < TOKENS


@pytest.mark.parametrize(
    ("name", "granularity"),
    [*((name, "layer") for name in KINDS), ("local", "head"), ("lsh", "head")],
)
def test_evicting_is_masking_under_a_pattern(name, granularity):
    model, ids, found = tiny_model(layers=2), prompt(TOKENS), []
    pattern = PARTS[name](**SMALL[name][0])
    memory = forgetful(pattern=pattern, granularity=Granularity(granularity))
    for storage in Storage:
        with attach(model, memory, SparseAttention(storage)) as attachment:
            first = model(ids)
            text = model.generate(ids, max_new_tokens=9, eos_token_id=None, do_sample=False)
            found.append((first.logits, text, kept_positions(attachment)))
    assert (found[0][0] - found[1][0]).abs().max() <= FLOAT64
    assert torch.equal(found[0][1], found[1][1]) and found[0][2] == found[1][2]


def test_a_padded_row_reads_as_it_does_alone(pattern):
    model, prompts = tiny_model(layers=2), [prompt(n, seed=n) for n in (33, 9, 24)]
    options = {"max_new_tokens": 6, "eos_token_id": None, "do_sample": False}
    with attach(model, forgetful(pattern=pattern)) as attachment:
        alone = []
        for ids in prompts:
            out = model(ids).logits[0]
            alone.append((out, kept_positions(attachment), model.generate(ids, **options)[0, -6:]))
        batch = padded(prompts)
        together = model(**batch).logits
        for row, (out, kept, _) in enumerate(alone):
            assert (together[row, -len(out) :] - out).abs().max() <= FLOAT64
            assert kept_positions(attachment, row) == kept
        texts = model.generate(**batch, **options)
        for row, (_, _, text) in enumerate(alone):
            assert torch.equal(texts[row, -6:], text)


def test_rehearsal_counts_what_the_pattern_lets_through(pattern):
    """Strength grows by the attention that was given, mean over heads, own tokens excepted."""
    model, ids = tiny_model(layers=1), prompt(TOKENS)
    memory = forgetful(
        pattern=pattern, threshold=0.0, recall_threshold=None, reinforcement=1.0, strength=2.0
    )
    with attach(model, memory) as attachment:
        out = model(ids, output_attentions=True)
        strength = states(attachment)[0][2]
    weights = out.attentions[0][0]
    assert (weights.sum(dim=-1) - 1).abs().max() <= FLOAT64
    if isinstance(pattern, PositionalPattern):
        positions = torch.arange(TOKENS)
        hidden = ~pattern.visible(positions, positions) | (positions > positions[:, None])
        assert weights[:, hidden].eq(0).all()
    given = weights.mean(dim=0).fill_diagonal_(0).sum(dim=0)
    assert (strength - 2.0 - given).abs().max() <= FLOAT64


def test_a_pattern_reaches_only_as_many_layers_as_it_is_told():
    ids, pattern = prompt(TOKENS), PARTS["local"](window=2, sinks=0)
    model = tiny_model(layers=4)
    with attach(model, forgetful(pattern=pattern, layer_fraction=0.5), PatternMode()) as it:
        half = model(ids, output_attentions=True).attentions
        assert it.layers == [0, 1]
    for number, weights in enumerate(half):
        assert bool(weights[..., -1, 0].any()) == (number >= 2)


READ = [  # pattern, most keys that a decoded token reads, most of 500 * 500 that a prompt does
    ("local", {"window": 8, "sinks": 2}, 10, 0.15),
    ("dilated", {"window": 8, "dilation": 16, "sinks": 2}, 10, 0.08),
    ("global", {"tokens": 4, "every": 64}, 12, 0.17),
    ("block", {"size": 16, "near": 2, "first": 1}, 48, 0.2),
    ("random", {"size": 8, "draws": 2}, 24, 0.4),
    ("bigbird", {"size": 16, "first": 1, "near": 1, "draws": 1}, 48, 0.25),
    ("longformer", {"window": 8, "tokens": 3}, 11, 0.15),
    ("strided", {"window": 8, "stride": 16}, 40, 0.6),
    ("topk", {"tokens": 4}, 20, 0.6),
]


@pytest.mark.parametrize(("name", "settings", "decoded", "share"), READ, ids=lambda it: str(it))
@pytest.mark.parametrize("evicting", [False, True])
def test_only_what_can_be_seen_is_read(name, settings, decoded, share, evicting, monkeypatch):
    """Of 500 tokens; a cache with gaps reads no more than one without."""
    read, attend = [], attending.attend

    def counting(queries, keys, values, view):
        read.append((queries.shape[2], keys.shape[2]))
        return attend(queries, keys, values, view)

    monkeypatch.setattr(attending, "attend", counting)
    model, ids = tiny_model(layers=1), prompt(501)
    mode, memory = PatternMode(), forgetful(pattern=PARTS[name](**settings), prefill_chunk=500)
    if evicting:  # a few tokens go, wherever they are
        mode, memory = SparseAttention(), forgetful(
            pattern=memory.pattern, prefill_chunk=500, threshold="auto", budget=490, recent=0,
            reinforcement=0.0, recall_threshold=None,
        )  # fmt: skip
    with attach(model, memory, mode) as attachment:
        cache = attachment.new_cache()
        model(ids[:, :500], past_key_values=cache)
        if not evicting:  # in the caller's order, kin are not brought together
            assert sum(queries * keys for queries, keys in read) <= share * 500**2
        read.clear()
        model(ids[:, 500:], past_key_values=cache)
    assert [queries for queries, _ in read] == [1] and read[0][1] <= decoded
