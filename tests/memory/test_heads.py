"""A memory for each key-value head, against as many plain-Python memories as there are heads."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memollm.memory.ebbinghaus import Aggregation, Memory
from memollm.memory.granularity import Granularity, HeadBudgets
from memollm.modes.soft_delete import SoftDelete, Target
from memollm.modes.sparse_attention import SparseAttention, Storage

from .heads import adaptive, by_head, kept_by_head, oracle, scenarios, told
from .scenario import Scenario, kept_positions
from .scenario import scenarios as layer_scenarios

EXACT = 1e-12  # float64 sums of a few hundred terms, in another order
MODES = [
    SparseAttention(),
    SparseAttention(Storage.mask),
    SoftDelete(Target.both, 0.1),
    SoftDelete(Target.logit_bias, 0.5, compounding=True),
]
by_mode = pytest.mark.parametrize("mode", MODES, ids=str)


@by_mode
@given(scenario=scenarios())
def test_every_head_keeps_what_its_own_oracle_keeps(mode, scenario):
    layer, heads = scenario.layer(mode), oracle(scenario, mode)
    out = scenario.run(layer)
    torch.testing.assert_close(out, told(scenario, heads), rtol=EXACT, atol=EXACT)
    assert kept_by_head(layer) == [it.kept() for it in heads.heads]


@settings(max_examples=20)
@given(scenario=scenarios(adaptive()))
def test_heads_that_share_a_budget_keep_what_the_oracle_keeps(scenario):
    mode = SparseAttention()
    layer, heads = scenario.layer(mode), oracle(scenario, mode)
    out = scenario.run(layer)
    torch.testing.assert_close(out, told(scenario, heads), rtol=EXACT, atol=EXACT)
    assert kept_by_head(layer) == [it.kept() for it in heads.heads]


@pytest.mark.parametrize("mode", MODES[::3], ids=str)
@given(scenario=layer_scenarios())
def test_heads_that_agree_are_one_layer(mode, scenario):
    """With the same queries, keys and values in every head, retention is the layer's."""
    heads = 3
    one = Scenario(scenario.memory, scenario.tokens, 1, 1, scenario.dim, scenario.seed, 5)
    one.decoded = min(5, one.tokens - 1)
    many = dataclasses.replace(one, heads=2 * heads, kv_heads=heads)
    queries, keys, values = one.qkv
    many.qkv = (
        queries.repeat(1, 2 * heads, 1, 1),
        *(it.repeat(1, heads, 1, 1) for it in (keys, values)),
    )
    apart = dataclasses.replace(many, memory=by_head(scenario.memory))
    apart.qkv = many.qkv
    together, each = many.layer(mode), apart.layer(mode)
    torch.testing.assert_close(apart.run(each), many.run(together), rtol=0, atol=EXACT)
    assert kept_by_head(each) == [kept_positions(together)] * heads
    retention = together.rule.retention(together.tokens())[0]
    order = together.slab["position"][0].argsort()
    for head in range(heads):
        mine = each.rule.retention(each.tokens())[head]
        mine = mine[each.slab["position"][head].argsort()]
        torch.testing.assert_close(mine, retention[order], rtol=0, atol=EXACT)


@pytest.mark.parametrize("budget", [0.3, 20])
@pytest.mark.parametrize("share", HeadBudgets)
@given(scenario=scenarios(), floor=st.sampled_from([0.0, 0.3, 1.0]))
def test_budgets_of_heads_add_up_to_the_layers(share, budget, scenario, floor):
    scenario.memory = Memory(
        granularity=Granularity.head, head_budgets=share, head_floor=floor, budget=budget,
        sinks=1, recent=2, prefill_chunk=scenario.memory.prefill_chunk, strength=0.1,
        recall_threshold=0.3,
    )  # fmt: skip
    layer = scenario.layer(SparseAttention())
    scenario.run(layer)
    seen = scenario.tokens
    mine = round(budget * seen) if budget < 1 else min(budget, seen)
    mine = max(mine, min(3, seen))
    kept = [len(positions) for positions in kept_by_head(layer)]
    assert sum(kept) == mine * scenario.kv_heads
    assert layer.kept_tokens() == pytest.approx(sum(kept) / scenario.kv_heads)
    if share is HeadBudgets.equal:
        assert kept == [mine] * scenario.kv_heads
    assert min(kept) >= int(floor * (budget if budget > 1 else round(budget * seen))) or (
        min(kept) >= seen
    )


@given(scenario=st.one_of(scenarios(), scenarios(adaptive())))
def test_masking_equals_evicting_in_every_head(scenario):
    evict, mask = (scenario.layer(SparseAttention(storage)) for storage in Storage)
    torch.testing.assert_close(scenario.run(evict), scenario.run(mask), rtol=0, atol=EXACT)
    assert kept_by_head(evict) == kept_by_head(mask)
    widest = max(len(kept) for kept in kept_by_head(evict))
    assert evict.slab.length <= 1.1 * widest + 17 <= 1.1 * scenario.tokens + 17
    assert evict.nbytes() == sum(evict.slab.nbytes(name) for name in evict.slab._tensors)


@pytest.mark.parametrize("mode", MODES[::2], ids=str)
@settings(max_examples=6)
@given(scenario=st.one_of(scenarios(), scenarios(adaptive())))
def test_chunks_of_one_are_decoding_token_by_token(mode, scenario):
    scenario.memory.prefill_chunk = 1
    at_once, one_by_one = scenario.layer(mode), scenario.layer(mode)
    out = scenario.run(at_once)
    scenario.decoded = scenario.tokens - 1
    torch.testing.assert_close(scenario.run(one_by_one), out, rtol=0, atol=EXACT)
    assert kept_by_head(one_by_one) == kept_by_head(at_once)


@settings(max_examples=8)
@given(
    scenario=st.one_of(scenarios(), scenarios(adaptive())),
    pads=st.lists(st.integers(0, 40), min_size=1, max_size=2),
)
def test_left_padded_rows_behave_as_they_do_alone(scenario, pads):
    longest = scenario.tokens
    lengths = [longest, *(max(longest - pad, 1 + scenario.decoded) for pad in pads)]
    rows = [dataclasses.replace(scenario, tokens=n, seed=i) for i, n in enumerate(lengths)]
    batch = [
        torch.full((len(rows), t.shape[1], longest, t.shape[3]), 9.0, dtype=t.dtype)
        for t in rows[0].qkv
    ]
    valid = torch.arange(longest) >= longest - torch.tensor(lengths)[:, None]
    for number, row in enumerate(rows):
        for whole, own in zip(batch, row.qkv, strict=True):
            whole[number, :, longest - row.tokens :] = own[0]
    layer, outs = scenario.layer(SparseAttention()), []
    for start, stop in scenario.passes():
        parts = (t[:, :, start:stop] for t in batch)
        outs.append(layer.forward(*parts, scenario.view, valid[:, start:stop])[0])
    out = torch.cat(outs, dim=2)
    for number, row in enumerate(rows):
        alone = row.layer(SparseAttention())
        expected = row.run(alone)[0]
        torch.testing.assert_close(
            out[number, :, longest - row.tokens :], expected, rtol=0, atol=EXACT
        )
        assert kept_by_head(layer, number) == kept_by_head(alone)
    assert layer.seen.tolist() == lengths


def test_a_floor_of_one_is_an_equal_budget():
    kept = []
    for changes in ({}, {"head_budgets": HeadBudgets.adaptive, "head_floor": 1.0}):
        memory = by_head(Memory(budget=0.3, strength=0.1, prefill_chunk=7), **changes)
        scenario = Scenario(memory, 80, 4, 2, 4, seed=2, decoded=9)
        layer = scenario.layer(SparseAttention())
        scenario.run(layer)
        kept.append(kept_by_head(layer))
    assert kept[0] == kept[1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"head_budgets": "adaptive", "budget": 0.5}, "needs memory.granularity=head"),
        ({"head_budgets": "adaptive", "granularity": "head"}, "needs a budget for heads to share"),
        (
            {"granularity": "head", "aggregation": "vote"},
            "not allowed with memory.aggregation=vote",
        ),
        ({"head_floor": 1.5}, r"memory.head_floor=1.5 is not allowed, it must be in \[0, 1\]"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    kinds = {"head_budgets": HeadBudgets, "granularity": Granularity, "aggregation": Aggregation}
    with pytest.raises(ValueError, match=message):
        Memory(**{key: kinds.get(key, lambda it: it)(value) for key, value in settings.items()})
