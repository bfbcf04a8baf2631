"""A layer decodes with the compiled kernel as it does without: outputs, strengths, who is kept."""

import copy
import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memollm.hf import compiled
from memollm.memory.ebbinghaus import Memory
from memollm.memory.granularity import Granularity
from memollm.memory.kernel import Kernel
from memollm.modes.sparse_attention import SparseAttention
from memollm.native.attending import kernel
from memollm.policies.h2o import H2O
from memollm.policies.window import Window
from tests.memory.scenario import MODES, Scenario, memories

# Single precision; a rehearsed strength is a sum of some fifty weights.
OUTPUTS, STRENGTHS = 5e-6, 1e-5
pytestmark = pytest.mark.skipif(kernel() is None, reason="no C compiler")


def two_ways(memory, mode, **shape):
    """Outputs of the same tokens, and the layers afterwards: with the kernel and without."""
    found = []
    for choice in (Kernel.auto, Kernel.torch):
        chosen = dataclasses.replace(memory, kernel=choice)
        scenario = Scenario(chosen, dtype=torch.float32, **shape)
        layer = scenario.layer(mode)
        found.append((scenario.run(layer), layer))
    (out, layer), (expected, other) = found
    assert layer._compiled is not None and layer._compiled._generation >= 0  # it was used
    assert other._compiled is None
    return out, layer, expected, other


def known(layer, name):
    """A column by position, of the tokens that are still seen."""
    slab = layer.slab
    row = []
    for index in range(len(slab["position"])):
        shown = ~slab["hidden"][index]
        order = slab["position"][index][shown].argsort()
        row.append(slab[name][index][shown][order])
    return row


@pytest.mark.parametrize("mode", MODES, ids=str)
@given(
    memory=memories(), tokens=st.integers(30, 60), decoded=st.integers(10, 28),
    kv_heads=st.integers(1, 2), group=st.integers(1, 3), seed=st.integers(0, 999),
    granularity=st.sampled_from(Granularity),
)  # fmt: skip
def test_as_by_pytorch(mode, memory, tokens, decoded, kv_heads, group, seed, granularity):
    memory = dataclasses.replace(memory, granularity=granularity)
    shape = dict(tokens=tokens, heads=kv_heads * group, kv_heads=kv_heads, dim=16)
    out, layer, expected, other = two_ways(memory, mode, seed=seed, decoded=decoded, **shape)
    kept = [known(it, "position") for it in (layer, other)]
    assert all(torch.equal(a, b) for a, b in zip(*kept, strict=True))
    assert (out - expected).abs().max() <= OUTPUTS * max(1, expected.abs().max())
    for name, bound in (("strength", STRENGTHS), ("recalled", 0)):
        for mine, theirs in zip(known(layer, name), known(other, name), strict=True):
            assert (mine - theirs).abs().max() <= bound


@pytest.mark.parametrize("policy", [H2O(), Window()], ids=str)
def test_policies_see_the_same_weights(policy):
    memory = Memory(budget=0.5, policy=policy, recent=4, sinks=2, prefill_chunk=8)
    shape = dict(tokens=60, heads=4, kv_heads=2, dim=32, seed=1, decoded=40)
    out, layer, expected, other = two_ways(memory, SparseAttention(), **shape)
    kept = [known(it, "position")[0].tolist() for it in (layer, other)]
    assert kept[0] == kept[1] and len(kept[0]) < 60
    assert (out - expected).abs().max() <= OUTPUTS * expected.abs().max()


def test_half_precision_is_nearer_to_the_truth_than_pytorch_is():
    memory = Memory(strength=1e6)
    shape = dict(tokens=80, heads=14, kv_heads=2, dim=64, seed=0, decoded=40)
    exact = Scenario(memory, dtype=torch.float64, **shape)
    true = exact.run(exact.layer(SparseAttention()))[:, :, 40:]
    errors = []
    for choice in (Kernel.auto, Kernel.torch):
        chosen = dataclasses.replace(memory, kernel=choice)
        scenario = Scenario(chosen, dtype=torch.bfloat16, **shape)
        found = scenario.run(scenario.layer(SparseAttention()))[:, :, 40:]
        errors.append(float((found - true).abs().max()))
    assert errors[0] <= errors[1]


def test_a_slab_that_grows_or_is_rearranged_is_bound_again():
    memory = Memory(strength=1e6, kernel=Kernel.compiled)
    scenario = Scenario(memory, 90, 2, 1, 16, 0, decoded=80, dtype=torch.float32)
    layer = scenario.layer(SparseAttention())
    scenario.run(layer)  # grows from 10 slots to 90
    twice = torch.tensor([0, 0])
    layer.select_rows(twice)
    new = [torch.randn(1, heads, 1, 16).expand(2, -1, -1, -1) for heads in (2, 1, 1)]
    out, _ = layer.forward(*new, scenario.view)
    assert torch.equal(out[0], out[1])
    assert layer.slab.length == 91 and layer.seen.tolist() == [91, 91]


def test_a_copy_goes_its_own_way():
    scenario = Scenario(Memory(strength=1e6), 30, 2, 1, 16, 0, decoded=10, dtype=torch.float32)
    layer = scenario.layer(SparseAttention())
    scenario.run(layer)
    other = copy.deepcopy(layer)
    assert other._compiled._store is other.store is not layer.store
    new = [torch.randn(1, heads, 1, 16) for heads in (2, 1, 1)]
    expected, _ = other.forward(*new, scenario.view)
    assert (other.slab.length, layer.slab.length) == (31, 30)
    other.forward(*new, scenario.view)
    assert torch.equal(layer.forward(*new, scenario.view)[0], expected)


def test_the_choice_of_pytorch_is_heeded(monkeypatch):
    def forbidden(*args):
        raise AssertionError("called")

    monkeypatch.setattr(compiled.CompiledStep, "decode", forbidden)
    scenario = Scenario(Memory(kernel=Kernel.torch), 20, 2, 1, 16, 0, 5, torch.float32)
    assert scenario.run(scenario.layer(SparseAttention())).shape[2] == 20
