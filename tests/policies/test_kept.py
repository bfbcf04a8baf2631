"""Every policy keeps exactly the positions that its oracle keeps, at every step."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memollm.memory.ebbinghaus import Memory
from memollm.modes.sparse_attention import SparseAttention, Storage
from memollm.policies.full import Full
from memollm.policies.h2o import H2O
from memollm.policies.knorm import Knorm
from memollm.policies.random import Random
from memollm.policies.snapkv import Pooling, SnapKV
from memollm.policies.tova import Tova
from memollm.policies.window import Window
from memollm.registry import groups
from tests.memory.scenario import Scenario, kept_positions

from .oracle import Oracle

EXACT = 1e-12  # float64 sums of a few dozen terms, in another order
POLICIES = [
    Window(),
    Random(seed=3),
    H2O(),
    H2O(recent_share=0.0),
    Tova(),
    SnapKV(window=4, pool=3),
    SnapKV(window=9, pool=5, pooling=Pooling.max),
    SnapKV(window=1, pool=1),
    Knorm(),
    Full(),
]
by_policy = pytest.mark.parametrize("policy", POLICIES, ids=str)


def scenarios(policy):
    def build(budget, length, sinks, recent, chunk, tokens, groups, kv_heads, dim, seed, decoded):
        memory = Memory(
            policy=policy,
            budget=max(budget, sinks + recent) if isinstance(budget, int) else budget,
            budget_length=0 if isinstance(budget, int) else length,
            sinks=sinks,
            recent=recent,
            prefill_chunk=chunk,
        )
        heads = groups * kv_heads
        return Scenario(memory, tokens, heads, kv_heads, dim, seed, min(decoded, tokens - 1))

    return st.builds(
        build,
        budget=st.sampled_from([0.1, 0.25, 0.6, 5, 12, 20]), length=st.sampled_from([0, 30]),
        sinks=st.integers(0, 4), recent=st.integers(0, 6), chunk=st.integers(1, 25),
        tokens=st.integers(2, 45), groups=st.integers(1, 3), kv_heads=st.integers(1, 2),
        dim=st.sampled_from([2, 5]), seed=st.integers(0, 10**6), decoded=st.integers(0, 15),
    )  # fmt: skip


def test_every_policy_is_tested():
    rankings = {name for name, part in groups()["policy"].items() if not part.fades}
    assert {type(policy) for policy in POLICIES} == {groups()["policy"][name] for name in rankings}


@by_policy
@given(data=st.data())
def test_kept_positions_are_the_oracles_after_every_chunk(policy, data):
    scenario = data.draw(scenarios(policy))
    at_once, layer = (scenario.layer(SparseAttention()) for _ in range(2))
    oracle = Oracle(scenario.memory)
    queries, keys, _ = (t[0].transpose(0, 1).tolist() for t in scenario.qkv)
    for start, stop in scenario.chunks():
        layer.forward(*(t[:, :, start:stop] for t in scenario.qkv), scenario.view)
        oracle.chunk(queries[start:stop], keys[start:stop])
        assert kept_positions(layer) == oracle.kept()
    scenario.run(at_once)
    assert kept_positions(at_once) == oracle.kept()


@by_policy
def test_blocks_of_queries_make_no_difference(policy):
    """A chunk of several query blocks, the last of them shorter than the observation window."""
    if isinstance(policy, SnapKV):
        policy = SnapKV(window=32)
    memory = Memory(policy=policy, budget=0.5, prefill_chunk=150)
    scenario = Scenario(memory, 150, 2, 1, 4, seed=5)
    layer, oracle = scenario.layer(SparseAttention()), Oracle(memory)
    scenario.run(layer)
    queries, keys, _ = (t[0].transpose(0, 1).tolist() for t in scenario.qkv)
    oracle.chunk(queries, keys)
    assert kept_positions(layer) == oracle.kept()
    assert len(oracle.kept()) == (75 if policy.bounded else 150)


@by_policy
@settings(max_examples=6)
@given(data=st.data(), pads=st.lists(st.integers(0, 45), min_size=1, max_size=3))
def test_left_padded_rows_keep_what_they_keep_alone(policy, data, pads):
    scenario = data.draw(scenarios(policy))
    longest = scenario.tokens
    lengths = [longest, *(max(longest - pad, 1 + scenario.decoded) for pad in pads)]
    rows = [
        Scenario(scenario.memory, length, scenario.heads, scenario.kv_heads, scenario.dim, seed,
                 scenario.decoded)
        for seed, length in enumerate(lengths)
    ]  # fmt: skip
    batch = [
        torch.full((len(rows), t.shape[1], longest, t.shape[3]), 9.0, dtype=t.dtype)
        for t in rows[0].qkv
    ]
    valid = torch.zeros(len(rows), longest, dtype=torch.bool)
    for number, row in enumerate(rows):
        valid[number, longest - row.tokens :] = True
        for whole, own in zip(batch, row.qkv, strict=True):
            whole[number, :, longest - row.tokens :] = own[0]
    layer, outs = scenario.layer(SparseAttention()), []
    for start, stop in scenario.passes():
        parts = (t[:, :, start:stop] for t in batch)
        outs.append(layer.forward(*parts, scenario.view, valid[:, start:stop])[0])
    out = torch.cat(outs, dim=2)
    for number, row in enumerate(rows):
        alone = row.layer(SparseAttention())
        expected = row.run(alone)
        torch.testing.assert_close(
            out[number, :, longest - row.tokens :], expected[0], rtol=0, atol=EXACT
        )
        assert kept_positions(layer, number) == kept_positions(alone)


@by_policy
@settings(max_examples=6)
@given(data=st.data())
def test_masking_equals_evicting(policy, data):
    scenario = data.draw(scenarios(policy))
    evict, mask = (scenario.layer(SparseAttention(storage)) for storage in Storage)
    torch.testing.assert_close(scenario.run(evict), scenario.run(mask), rtol=0, atol=EXACT)
    assert kept_positions(evict) == kept_positions(mask)


@given(
    strength=st.sampled_from([0.05, 0.11, 0.37]),
    threshold=st.sampled_from([0.05, 0.3, 0.77]),
    sinks=st.integers(0, 5),
    recent=st.integers(0, 9),
    chunk=st.integers(1, 30),
)
def test_a_window_is_a_memory_of_constant_strength(strength, threshold, sinks, recent, chunk):
    common = {"sinks": sinks, "recent": recent, "prefill_chunk": chunk}
    constant = Memory(
        strength=strength, threshold=threshold, reinforcement=0.0, recall_threshold=None, **common
    )
    tokens = math.floor(-strength * math.log(threshold) / constant.time_step) + 1
    budget = sinks + max(tokens, recent)
    found = []
    for memory in (constant, Memory(policy=Window(), budget=budget, **common)):
        scenario = Scenario(memory, 90, 1, 1, 2, seed=0, decoded=15)
        layer = scenario.layer(SparseAttention())
        steps = []
        for start, stop in scenario.chunks():
            layer.forward(*(t[:, :, start:stop] for t in scenario.qkv), scenario.view)
            steps.append(kept_positions(layer))
        found.append(steps)
    assert found[0] == found[1] and len(found[0][-1]) == min(budget, 90)


@pytest.mark.parametrize("policy", [Tova(), SnapKV(window=4, pool=1), H2O(0.0), Knorm()], ids=str)
def test_equal_priorities_fall_by_position_the_oldest_first(policy):
    """All keys alike and a last query that looks at all alike: the newest tokens are left."""
    memory = Memory(policy=policy, budget=10, sinks=0, recent=0, prefill_chunk=30)
    scenario = Scenario(memory, 30, 2, 1, 2, seed=0)
    queries, keys, values = (t[:, :, :30] for t in scenario.qkv)
    layer = scenario.layer(SparseAttention())
    if isinstance(policy, H2O):  # sums are equal where no query has looked at anything else
        keys = torch.eye(30, dtype=keys.dtype)[None, None] * 1e4
        queries = keys.expand(-1, 2, -1, -1)
        values = keys
        layer.forward(queries, keys, values, scenario.view)
    else:
        layer.forward(torch.zeros_like(queries), torch.ones_like(keys), values, scenario.view)
    assert kept_positions(layer) == list(range(20, 30))


def test_random_is_the_same_in_any_chunking_and_another_for_each_layer_and_seed():
    def kept(seed, layer, chunk):
        memory = Memory(policy=Random(seed), budget=60, prefill_chunk=chunk)
        scenario = Scenario(memory, 400, 1, 1, 1, seed=0)
        built = scenario.layer(SparseAttention(), layer=layer)
        scenario.run(built)
        return kept_positions(built)

    one = kept(0, 0, 7)
    assert one == kept(0, 0, 400)
    others = [kept(0, 1, 400), kept(1, 0, 400), kept(2**31 - 1, 0, 400)]
    # Beside the protected 20, two draws of 40 among 380 share 4.2 (standard deviation 1.9)
    assert all(len({*one} & {*other}) - 20 <= 12 for other in others)


def test_random_prefers_no_place():
    """Each quarter of the text has its share; 4 standard deviations of a binomial are 49 of 600."""
    memory = Memory(policy=Random(), budget=2400, sinks=0, recent=0, prefill_chunk=9600)
    from memollm.policies.random import _mix  # its ranks need no model

    score = _mix(_mix(_mix(torch.tensor(0)) ^ 2) ^ torch.arange(9600))
    assert len(score.unique()) == 9600
    quarters = score.argsort()[-memory.budget :] // 2400
    assert all(abs(int((quarters == q).sum()) - 600) <= 85 for q in range(4))
