"""What a policy and a budget ask of a configuration, and what is refused in which words."""

import dataclasses

import pytest

from memollm import identity
from memollm.config import register_schemas
from memollm.memory.budget import BudgetBy
from memollm.memory.ebbinghaus import Aggregation, Memory
from memollm.memory.threshold import Threshold
from memollm.policies.full import Full
from memollm.policies.h2o import H2O
from memollm.policies.random import Random
from memollm.policies.snapkv import SnapKV
from memollm.policies.window import Window
from memollm.registry import groups
from tests.test_config import composed

register_schemas()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"policy": Window()}, "policy=window needs a budget: the share of the tokens to keep"),
        (
            {"policy": H2O(), "budget": 0.5, "threshold": 0.01},
            "threshold=0.01 is not allowed with policy=h2o, which knows no retention",
        ),
        ({"policy": Full(), "threshold": 0.01}, "threshold=0.01 is not allowed with policy=full"),
        ({"policy": Full(), "budget": 2.0}, "budget=2.0 is not allowed, it must be a share"),
        ({"policy": Window(), "budget": "many"}, "budget=many is not allowed"),
        ({"policy": Window(), "budget": 1.0}, r"nothing is forgotten with policy=full"),
        ({"policy": Window(), "budget": True}, "budget=True is not allowed"),
        ({"policy": Window(), "budget": 19}, "must be at least the 20 protected tokens"),
        (
            {"policy": Window(), "budget": 0.5, "aggregation": Aggregation.vote},
            "memory.aggregation=vote is not allowed with policy=window",
        ),
        (
            {"policy": Window(), "budget": 0.5, "budget_by": BudgetBy.threshold},
            "memory.budget_by=threshold is not allowed with policy=window",
        ),
        ({"budget_by": BudgetBy.threshold}, "memory.budget_by=threshold needs a budget"),
        (
            {"budget_by": BudgetBy.threshold, "budget": 2048},
            "a text of memory.calibration_tokens=1024 would lose nothing",
        ),
        (
            {"budget_by": BudgetBy.threshold, "budget": 0.5, "threshold": 0.1},
            "budget=0.5 and threshold=0.1 exclude each other",
        ),
    ],
)
def test_bad_settings_are_refused_with_key_value_and_what_is_allowed(settings, message):
    with pytest.raises(ValueError, match=message):
        Memory(**settings)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (lambda: H2O(recent_share=1.1), "policy.recent_share=1.1"),
        (lambda: SnapKV(window=0), "policy.window=0"),
        (lambda: SnapKV(pool=4), "policy.pool=4 is not allowed, it must be odd"),
        (lambda: Random(seed=-1), "policy.seed=-1"),
    ],
)
def test_a_policys_own_numbers_are_checked(policy, message):
    with pytest.raises(ValueError, match=message):
        policy()


def test_a_threshold_by_default_is_not_one_that_somebody_set():
    assert Memory().threshold == 0.01
    assert Memory(budget=0.25).threshold == "auto"
    assert Memory(policy=Window(), budget=0.25).threshold is None
    config = composed("policy=window", "budget=0.25")
    assert (config.threshold, config.budget, config.memory.budget) == (None, 0.25, 0.25)
    assert composed().threshold == 0.01
    with pytest.raises(ValueError, match="threshold=0.01 is not allowed with policy=window"):
        composed("policy=window", "budget=0.25", "threshold=0.01")


def test_what_rules_are_given():
    assert Memory(policy=Window(), budget=64).thresholds(2) == [Threshold(budget=64)] * 2
    assert Memory(policy=Full(), budget=0.5).thresholds(1) == [Threshold()]
    assert Memory(budget=0.5).thresholds(1) == [Threshold(budget=0.5)]
    unsolved = Memory(budget=0.5, budget_by=BudgetBy.threshold)
    with pytest.raises(ValueError, match="needs a threshold that is solved for the model"):
        unsolved.thresholds(1)
    assert unsolved.solved(0.3).thresholds(1) == [Threshold(0.3)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["policy=window", "budget=0.5"], "policy=window is not allowed with mode=soft_delete"),
        (["policy=full"], "policy=full is not allowed with mode=soft_delete"),
        (["budget=0.5"], "budget=0.5 is not allowed with mode=soft_delete, which keeps and reads"),
        (
            ["schedule=linear"],
            "schedule=linear is not allowed with mode=soft_delete, which forgets",
        ),
    ],
)
def test_soft_deletion_refuses_what_would_change_nothing(arguments, message):
    with pytest.raises(ValueError, match=message):
        composed("mode=soft_delete", *arguments)
    composed("mode=baseline", *arguments)


@pytest.mark.parametrize("name", sorted(groups()["policy"]))
def test_fields_that_a_policy_ignores_are_fields(name):
    fields = {it.name for it in dataclasses.fields(Memory)}
    assert groups()["policy"][name].ignored < fields


class TestIdentity:
    """Which cells are the same, so that nothing is measured twice."""

    def hash(self, *arguments):
        (found,) = identity.evaluation_hashes(composed("evaluation=[needle]", *arguments)).values()
        return found

    def test_policies_budgets_and_their_settings_are_other_cells(self):
        cells = [
            ["policy=window", "budget=0.25"],
            ["policy=window", "budget=0.5"],
            ["policy=window", "budget=0.25", "memory.sinks=2"],
            ["policy=h2o", "budget=0.25"],
            ["policy=h2o", "budget=0.25", "policy.recent_share=0.1"],
            ["policy=full"],
            ["budget=0.25"],
            ["budget=0.25", "memory_strength=2"],
            ["budget=0.25", "memory.budget_by=threshold"],
            [],
        ]
        assert len({self.hash(*cell) for cell in cells}) == len(cells)

    def test_numbers_that_the_policy_does_not_read_make_no_other_cell(self):
        window = self.hash("policy=window", "budget=0.25")
        for other in ("memory_strength=2", "retention=power_law", "memory.reinforcement=0"):
            assert self.hash("policy=window", "budget=0.25", other) == window
        full = composed("policy=full", "budget=0.5")
        assert (full.budget, full.memory.budget) == (None, None)
        assert self.hash("policy=full", "budget=0.5") == self.hash("policy=full")

    def test_a_baseline_has_neither_policy_nor_budget(self):
        plain = self.hash("mode=baseline")
        assert self.hash("mode=baseline", "policy=h2o", "budget=0.1") == plain
