"""Prompts of which not every query rehearses, against the oracle and against rows alone."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memollm.memory import prefill
from memollm.memory.ebbinghaus import Memory
from memollm.memory.prefill import PrefillReinforcement, observing
from memollm.modes.soft_delete import SoftDelete, Target
from memollm.modes.sparse_attention import SparseAttention

from .scenario import Scenario, kept_positions, scenarios

EXACT = 1e-12  # float64 sums of a few hundred terms, in another order
KINDS = [PrefillReinforcement.window, PrefillReinforcement.none]


@pytest.fixture(autouse=True)
def window(monkeypatch):
    monkeypatch.setattr(prefill, "WINDOW", 5)  # of chunks of up to 25


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", [SparseAttention(), SoftDelete(Target.both, 0.1)], ids=str)
@given(scenario=scenarios())
def test_kept_positions_and_outputs_are_the_oracles(mode, kind, scenario):
    scenario.memory.prefill_reinforcement = kind
    layer = scenario.layer(mode)
    out = scenario.run(layer)
    expected, oracle = scenario.oracle(mode)
    assert kept_positions(layer) == oracle.kept()
    torch.testing.assert_close(out, expected, rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize("kind", KINDS)
@given(scenario=scenarios(), pad=st.integers(1, 30))
def test_a_padded_row_is_observed_as_it_is_alone(kind, scenario, pad):
    scenario.memory.prefill_reinforcement = kind
    longest = scenario.tokens
    short = Scenario(
        scenario.memory, max(longest - pad, 1 + scenario.decoded), scenario.heads,
        scenario.kv_heads, scenario.dim, 1, scenario.decoded,
    )  # fmt: skip
    valid = torch.arange(longest)[None] >= torch.tensor([[0], [longest - short.tokens]])
    layer = scenario.layer(SparseAttention())
    batch = []
    for whole, own in zip(scenario.qkv, short.qkv, strict=True):
        rows = whole.repeat(2, 1, 1, 1)
        rows[1, :, longest - short.tokens :] = own[0]
        batch.append(rows)
    for start, stop in scenario.passes():
        layer.forward(*(t[:, :, start:stop] for t in batch), scenario.view, valid[:, start:stop])
    for number, row in enumerate((scenario, short)):
        alone = row.layer(SparseAttention())
        row.run(alone)
        assert kept_positions(layer, number) == kept_positions(alone)


def test_fewer_queries_rehearse_less():
    strengths = []
    for kind in PrefillReinforcement:
        memory = Memory(prefill_reinforcement=kind, prefill_chunk=20, recall_threshold=None)
        layer = (scenario := Scenario(memory, 40, 2, 1, 4, seed=0)).layer(SparseAttention())
        scenario.run(layer)
        strengths.append(layer.slab["strength"].sum())
    assert strengths[0] > strengths[1] > strengths[2] == 40 * Memory().strength


def test_a_token_alone_is_always_observed():
    for kind in PrefillReinforcement:
        assert observing(kind, 1) == (0, None)


def test_single_precision_takes_a_kernel_without_weights_and_agrees():
    outs = []
    for kind in (PrefillReinforcement.exact, PrefillReinforcement.none):
        memory = Memory(
            prefill_reinforcement=kind, reinforcement=1e-12, recall_threshold=None, strength=0.1,
            threshold=0.3, prefill_chunk=16,
        )  # fmt: skip
        scenario = Scenario(memory, 60, 4, 2, 8, seed=3, decoded=4, dtype=torch.float32)
        layer = scenario.layer(SparseAttention())
        outs.append(scenario.run(layer))
        assert len(kept_positions(layer)) < 40
    torch.testing.assert_close(outs[0], outs[1], rtol=0, atol=1e-5)  # sums of a few dozen terms
