"""Policies in every key-value head: each keeps what its oracle keeps of that head alone."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memollm.memory.ebbinghaus import Memory
from memollm.memory.granularity import HeadBudgets
from memollm.modes.sparse_attention import SparseAttention, Storage
from memollm.policies.full import Full
from memollm.policies.knorm import Knorm
from memollm.policies.random import HEAD, Random
from memollm.policies.snapkv import SnapKV
from memollm.policies.window import Window
from tests.memory.heads import by_head, kept_by_head
from tests.memory.scenario import Scenario

from .oracle import Oracle
from .test_kept import by_policy
from .test_kept import scenarios as layer_scenarios

LAYER = 3  # index among the memory layers, which random goes by


def scenarios(policy):
    def build(scenario):
        return dataclasses.replace(scenario, memory=by_head(scenario.memory), heads=4, kv_heads=2)

    return st.builds(build, layer_scenarios(policy))


@by_policy
@settings(max_examples=4)
@given(data=st.data())
def test_every_head_keeps_what_its_oracle_keeps(policy, data):
    scenario = data.draw(scenarios(policy))
    layer = scenario.layer(SparseAttention(), layer=LAYER)
    scenario.run(layer)
    queries, keys, _ = (t[0].transpose(0, 1).tolist() for t in scenario.qkv)
    expected = []
    for head in range(2):
        oracle = Oracle(scenario.memory, LAYER + (head << HEAD))
        mine = slice(2 * head, 2 * head + 2)
        for start, stop in scenario.chunks():
            oracle.chunk(
                [token[mine] for token in queries[start:stop]],
                [token[head : head + 1] for token in keys[start:stop]],
            )
        expected.append(oracle.kept())
    assert kept_by_head(layer) == expected


@by_policy
@settings(max_examples=3)
@given(data=st.data())
def test_heads_that_share_a_budget_keep_as_many_together_evicted_or_masked(policy, data):
    scenario = data.draw(scenarios(policy))
    shared = {"head_budgets": HeadBudgets.adaptive, "head_floor": 0.2}
    scenario.memory = dataclasses.replace(scenario.memory, **shared)
    kept = []
    for storage in Storage:
        layer = scenario.layer(SparseAttention(storage))
        scenario.run(layer)
        kept.append(kept_by_head(layer))
    assert kept[0] == kept[1]
    equal = dataclasses.replace(
        scenario, memory=by_head(scenario.memory, head_budgets=HeadBudgets.equal)
    )
    layer = equal.layer(SparseAttention())
    equal.run(layer)
    assert sum(map(len, kept[0])) == sum(map(len, kept_by_head(layer)))


@pytest.mark.parametrize("policy", [Window(), Random(), Knorm(), SnapKV(window=4)], ids=str)
def test_heads_of_a_policy_that_looks_at_them_differ(policy):
    memory = by_head(Memory(policy=policy, budget=30, sinks=1, recent=2))
    scenario = Scenario(memory, 120, 4, 2, 4, seed=1)
    layer = scenario.layer(SparseAttention())
    scenario.run(layer)
    one, other = kept_by_head(layer)
    assert len(one) == len(other) == 30
    assert (one == other) is isinstance(policy, Window)


def test_a_fixed_budget_that_heads_share_is_never_exceeded():
    """Also at tokens where the rule said that nobody could die."""
    memory = by_head(
        Memory(policy=Knorm(), budget=20, sinks=1, recent=2, prefill_chunk=5),
        head_budgets=HeadBudgets.adaptive, head_floor=0.0,
    )  # fmt: skip
    scenario = Scenario(memory, 80, 4, 2, 4, seed=1)
    layer = scenario.layer(SparseAttention())
    for start in range(0, 80, 5):
        layer.forward(*(t[:, :, start : start + 5] for t in scenario.qkv), scenario.view)
        kept = sum(map(len, kept_by_head(layer)))
        assert kept == min(2 * (start + 5), 40)


def test_full_reads_nothing_of_heads_budgets():
    ignored = Full().ignored
    assert {"head_budgets", "head_floor"} <= ignored and "granularity" not in ignored
