"""Every way of running the memory keeps exactly what the plain-Python oracle keeps."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memollm.hf.remembering import EVICT_AFTER, EVICT_SHARE
from memollm.memory.aggregation import Council
from memollm.memory.ebbinghaus import Aggregation, Memory
from memollm.memory.oracle import Oracle
from memollm.memory.threshold import Threshold
from memollm.modes.sparse_attention import SparseAttention, Storage

from .scenario import MODES, Scenario, kept_positions, memories, scenarios

EXACT = 1e-12  # float64 sums of a few hundred terms, in another order
SINGLE = 1e-5  # float32: 24 bits, sums of a few dozen terms of size about 1


@pytest.mark.parametrize("mode", MODES, ids=str)
@given(scenario=scenarios())
def test_kept_positions_strengths_and_outputs_are_the_oracles(mode, scenario):
    layer = scenario.layer(mode)
    out = scenario.run(layer)
    expected, oracle = scenario.oracle(mode)
    assert kept_positions(layer) == oracle.kept()
    torch.testing.assert_close(out, expected, rtol=EXACT, atol=EXACT)
    slab = layer.slab
    for slot in range(slab.length):
        token = oracle.tokens[int(slab["position"][0, slot])]
        if not slab["forgotten"][0, slot] or mode.graded:
            assert math.isclose(slab["strength"][0, slot], token.strength, rel_tol=EXACT)
            assert scenario.tokens - 1 - int(slab["recalled"][0, slot]) == token.steps


@given(scenario=scenarios(torch.float32))
def test_masking_equals_evicting_in_single_precision(scenario):
    evict, mask = (scenario.layer(SparseAttention(storage)) for storage in Storage)
    torch.testing.assert_close(scenario.run(evict), scenario.run(mask), rtol=0, atol=SINGLE)
    assert kept_positions(evict) == kept_positions(mask)
    hidden = evict.slab.length - len(kept_positions(evict))
    assert 0 <= hidden <= min(EVICT_AFTER, 1 + evict.slab.length * EVICT_SHARE)


@pytest.mark.parametrize("mode", MODES, ids=str)
@given(scenario=scenarios())
def test_chunks_of_one_are_decoding_token_by_token(mode, scenario):
    scenario.memory.prefill_chunk = 1
    at_once, one_by_one = scenario.layer(mode), scenario.layer(mode)
    out = scenario.run(at_once)
    scenario.decoded = scenario.tokens - 1
    torch.testing.assert_close(scenario.run(one_by_one), out, rtol=0, atol=EXACT)
    assert kept_positions(one_by_one) == kept_positions(at_once)


@pytest.mark.parametrize("mode", MODES, ids=str)
@given(scenario=scenarios(), pads=st.lists(st.integers(0, 45), min_size=1, max_size=3))
def test_left_padded_rows_behave_as_they_do_alone(mode, scenario, pads):
    """Rows of several lengths in one batch: pads are no sinks, not rehearsed, not counted."""
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
    layer, outs = scenario.layer(mode), []
    for start, stop in scenario.passes():
        q, k, v = (t[:, :, start:stop] for t in batch)
        outs.append(layer.forward(q, k, v, scenario.view, valid[:, start:stop])[0])
    out = torch.cat(outs, dim=2)
    for number, row in enumerate(rows):
        alone = row.layer(mode)
        expected = row.run(alone)
        torch.testing.assert_close(
            out[number, :, longest - row.tokens :], expected[0], rtol=0, atol=EXACT
        )
        assert kept_positions(layer, number) == kept_positions(alone)


@given(
    memory=memories(),
    shares=st.sampled_from([0.3, 0.5, 1.0]),
    layers=st.integers(1, 3),
    chunks=st.lists(st.integers(1, 12), min_size=1, max_size=8),
    seed=st.integers(0, 10**6),
)
def test_layers_that_vote_forget_together_as_the_oracles_do(memory, shares, layers, chunks, seed):
    if memory.budget is not None:
        memory = Memory(strength=0.1, threshold=0.4, recent=2, reinforcement=0.1)
    memory.aggregation, memory.share, memory.prefill_chunk = Aggregation.vote, shares, 12
    council = Council(shares)
    sources = [Scenario(memory, sum(chunks), 2, 1, 4, seed + i) for i in range(layers)]
    for source in sources:
        council.members.append(source.layer(SparseAttention(), council=council))
    oracles = [
        Oracle(memory.strength, memory.time_step, memory.reinforcement, memory.recall_threshold,
               memory.threshold, None, memory.sinks, memory.recent)
        for _ in sources
    ]  # fmt: skip
    at = 0
    for size in chunks:
        for source, member, oracle in zip(sources, council.members, oracles, strict=True):
            q, k, v = (t[:, :, at : at + size] for t in source.qkv)
            member.forward(q, k, v, source.view)
            oracle.chunk(*(t[0].transpose(0, 1).tolist() for t in (q, k, v)))
        ballots = [oracle.ballot() for oracle in oracles]
        agreed = {p for b in ballots for p in b if sum(p in c for c in ballots) >= shares * layers}
        for oracle in oracles:
            oracle.settle(agreed)
        at += size
        for member, oracle in zip(council.members, oracles, strict=True):
            assert kept_positions(member) == oracle.kept()


@given(
    strength=st.sampled_from([0.05, 0.11, 0.37]),
    threshold=st.sampled_from([0.05, 0.3, 0.77]),
    sinks=st.integers(0, 5),
    recent=st.integers(0, 9),
    chunk=st.integers(1, 30),
)
def test_constant_strength_is_a_sliding_window(strength, threshold, sinks, recent, chunk):
    memory = Memory(
        strength=strength, threshold=threshold, reinforcement=0.0, recall_threshold=None,
        sinks=sinks, recent=recent, prefill_chunk=chunk,
    )  # fmt: skip
    scenario = Scenario(memory, 120, 2, 1, 2, seed=0)
    layer = scenario.layer(SparseAttention())
    scenario.run(layer)
    window = math.floor(-strength * math.log(threshold) / memory.time_step) + 1
    newest = range(max(120 - max(window, recent), 0), 120)
    assert kept_positions(layer) == sorted({*range(sinks), *newest})


@given(scenario=scenarios())
def test_biasing_logits_tends_to_eviction_and_scaling_keys_does_not(scenario):
    """The limit w -> 0, in one pass over a cache of which some tokens have faded wholly."""
    from memollm.attention.kernel import attend
    from memollm.attention.view import View

    q, k, v = scenario.qkv
    gone = torch.arange(scenario.tokens)[None] % 3 == 1
    evicted = attend(q, k[:, :, ~gone[0]], v[:, :, ~gone[0]], View(scaling=1.0))[0]
    bias = torch.where(gone, torch.tensor(1e-30, dtype=q.dtype).log(), 0.0)
    biased = attend(q, k, v, View(scaling=1.0, bias=bias))[0]
    torch.testing.assert_close(biased, evicted, rtol=0, atol=EXACT)
    scaled, weights = attend(q, k, v, View(scaling=1.0, key_scale=(~gone).to(q.dtype)))
    assert (weights[..., gone[0]] > 0).all()  # logit 0, weight e^0: not gone at all
    assert not torch.allclose(scaled, evicted, atol=1e-6) or not gone.any()


def test_a_threshold_of_zero_forgets_nothing():
    scenario = Scenario(Memory(threshold=0.0, strength=0.01), 60, 2, 1, 2, seed=1)
    layer = scenario.layer(SparseAttention())
    scenario.run(layer)
    assert kept_positions(layer) == list(range(60))


def test_idling_never_delays_a_death(monkeypatch):
    """Layers look for deaths only when one can have happened; looking always finds the same."""
    from memollm.hf.remembering import Remembering

    scenario = Scenario(
        Memory(strength=0.2, threshold=0.3, reinforcement=0.5, recent=3), 90, 2, 1, 3, 7, 80
    )
    lazy = scenario.layer(SparseAttention())
    scenario.run(lazy)
    settle = Remembering._settle

    def always(self, active, count):
        self._idle_until = 0
        settle(self, active, count)

    monkeypatch.setattr(Remembering, "_settle", always)
    eager = scenario.layer(SparseAttention())
    scenario.run(eager)
    assert kept_positions(lazy) == kept_positions(eager) != list(range(90))


def test_budget_ties_fall_on_the_oldest():
    memory = Memory(
        threshold="auto", budget=20, reinforcement=0.0, recall_threshold=None, sinks=0, recent=1
    )
    scenario = Scenario(memory, 40, 1, 1, 2, seed=0)
    layer = scenario.layer(SparseAttention())
    scenario.run(layer)
    assert kept_positions(layer) == list(range(20, 40))
    assert layer.rule.threshold == Threshold(budget=20)
