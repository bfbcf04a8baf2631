"""The memory's settings: what is refused, and how, and what they come to."""

import math

import pytest

from memollm.memory.ebbinghaus import Aggregation, Memory
from memollm.memory.retention import PowerLawRetention
from memollm.memory.threshold import Threshold, per_layer


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strength": -1.0}, "memory_strength=-1.0 is not allowed, it must be > 0"),
        ({"strength": math.nan}, "memory_strength=nan"),
        ({"time_step": 0.0}, "memory.time_step=0.0"),
        ({"reinforcement": -0.5}, "memory.reinforcement=-0.5"),
        ({"recall_threshold": 0.0}, "memory.recall_threshold=0.0"),
        ({"sinks": -1}, "memory.sinks=-1"),
        ({"recent": -1}, "memory.recent=-1"),
        ({"share": 0.0}, "memory.share=0.0"),
        ({"layer_fraction": 1.5}, r"layer_fraction=1.5 is not allowed, it must be in \(0, 1\]"),
        ({"layer_fraction": 0.0}, "layer_fraction=0.0"),
        ({"prefill_chunk": 0}, "memory.prefill_chunk=0"),
        ({"threshold": 2}, "threshold=2 is not allowed, choose a number in"),
        ({"threshold": "abc"}, "threshold='abc' is not allowed"),
        ({"threshold": True}, "threshold=True is not allowed"),
        ({"threshold": []}, r"threshold=\[\] is not allowed"),
        ({"threshold": [0.1, 1.0]}, r"threshold=\[0.1, 1.0\] is not allowed"),
        ({"threshold": {"first": 0.1}}, "threshold={'first': 0.1} is not allowed"),
        ({"threshold": "auto"}, "threshold=auto needs a budget"),
        ({"threshold": 0.1, "budget": 0.5}, "budget=0.5 and threshold=0.1 exclude each other"),
        ({"budget_length": 8}, "memory.budget_length=8 is not allowed with budget=None"),
        (
            {"budget_length": 8, "budget": 64},
            "memory.budget_length=8 is not allowed with budget=64",
        ),
        ({"budget_length": -1, "budget": 0.5}, "memory.budget_length=-1 is not allowed"),
        ({"budget": 1.5}, "budget=1.5 is not allowed, it must be a share"),
        ({"budget": 10}, "budget=10 is not allowed, it must be at least the 20 protected tokens"),
        (
            {"threshold": "auto", "budget": 0.5, "aggregation": Aggregation.vote},
            "vote is not allowed with a budget by rank",
        ),
    ],
)
def test_bad_settings_are_refused_with_key_value_and_what_is_allowed(settings, message):
    with pytest.raises(ValueError, match=message):
        Memory(**settings)


def test_a_fraction_that_leaves_no_layer_is_refused():
    assert [Memory(layer_fraction=f).layers(4) for f in (0.25, 0.5, 0.6, 1.0)] == [1, 2, 2, 4]
    assert Memory(layer_fraction=0.3).layers(10) == 3  # 0.3 * 10 is 2.9999999999999996
    with pytest.raises(ValueError, match="layer_fraction=0.1 .* at least 0.25"):
        Memory(layer_fraction=0.1).layers(4)


def test_thresholds_per_layer():
    assert per_layer(0.1, None, 2) == [Threshold(0.1)] * 2
    assert per_layer([0.1, 0.2], None, 2) == [Threshold(0.1), Threshold(0.2)]
    schedule = [t.value for t in per_layer({"first": 0.0, "last": 0.4}, None, 5)]
    assert schedule == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])
    assert per_layer({"first": 0.3, "last": 0.4}, None, 1) == [Threshold(0.3)]
    assert per_layer("auto", 0.25, 2) == [Threshold(budget=0.25)] * 2
    with pytest.raises(ValueError, match="has 2 numbers, but the memory has 3 layers"):
        per_layer([0.1, 0.2], None, 3)


def test_a_budget_is_a_share_or_a_count():
    assert Threshold(budget=0.25).keep(100) == 25
    assert Threshold(budget=0.29).keep(100) == 29  # 0.29 * 100 is 28.999999999999996
    assert Threshold(budget=64).keep(10) == 64
    assert Threshold(budget=0.1, least_length=1024).keep(256) == 102
    assert Threshold(budget=0.1, least_length=1024).keep(4096) == 410


def test_a_lifetime_in_tokens():
    assert Memory().lifetime_tokens(0.01) == pytest.approx(2302.585)
    power = Memory(retention=PowerLawRetention(decay=1.0), strength=1.0)
    assert power.lifetime_tokens(0.1) == pytest.approx(900.0)
