"""Thresholds that move, and curves and recalls of other kinds, against the oracle."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memollm.hf.remembering import Remembering
from memollm.memory.certain import kept_for_certain
from memollm.memory.ebbinghaus import Memory
from memollm.memory.feedback import Feedback
from memollm.memory.moving_oracle import Steering, ramp
from memollm.memory.retention import (
    ConstantWindowRetention,
    ExponentialRetention,
    MemoryBankRetention,
    PowerLawRetention,
    WickelgrenRetention,
)
from memollm.memory.schedule import Cosine, Linear
from memollm.modes.sparse_attention import SparseAttention
from memollm.policies.window import Window

from .heads import by_head, kept_by_head
from .scenario import Scenario, kept_positions, memories

CURVES = [
    ExponentialRetention(),
    MemoryBankRetention(),
    PowerLawRetention(0.8),
    WickelgrenRetention(0.9, 2.0, 0.7),
    ConstantWindowRetention(),
]


def formula(curve):
    """The curve in plain Python."""
    match curve:
        case ExponentialRetention():
            return lambda age, strength: math.exp(-age / strength)
        case PowerLawRetention():
            return lambda age, strength: (1 + age / strength) ** -curve.decay
        case WickelgrenRetention():
            return lambda age, strength: (
                curve.initial * (1 + curve.rate * age / strength) ** -curve.decay
            )
        case ConstantWindowRetention():
            return lambda age, strength: 1.0 if age <= strength else 0.0
    raise AssertionError(curve)


def moving(schedule, first):
    """The schedule in plain Python."""
    match schedule:
        case Feedback():
            return Steering(first, schedule.target, schedule.gain, schedule.low, schedule.high)
        case Linear() | Cosine():
            cosine = isinstance(schedule, Cosine)
            return ramp(first, schedule.last, schedule.start, schedule.over, cosine)
    return first


def scenarios(**changes):
    def build(memory, tokens, seed, decoded):
        threshold = memory.threshold if memory.budget is None else 0.3
        fixed = {"threshold": threshold, "budget": None, "budget_length": 0, **changes}
        if memory.recall_threshold is None:  # which not every curve allows
            fixed["recall_threshold"] = 0.2
        memory = dataclasses.replace(memory, **fixed)
        return Scenario(memory, tokens, 4, 2, 3, seed, min(decoded, tokens - 1))

    return st.builds(
        build, memories(), st.integers(2, 60), st.integers(0, 10**6), st.integers(0, 30)
    )


def oracle(scenario):
    told = scenario.oracle_of(SparseAttention())
    curve = scenario.memory.retention
    told.retention, told.by_recall = formula(curve), curve.by_recall
    told.threshold = moving(scenario.memory.schedule, scenario.memory.threshold)
    return told


def assert_the_same(scenario):
    layer = scenario.layer(SparseAttention())
    scenario.run(layer)
    _, told = scenario.oracle(SparseAttention(), oracle(scenario))
    assert kept_positions(layer) == told.kept()
    return layer, told


@pytest.mark.parametrize("curve", CURVES, ids=str)
@given(data=st.data())
def test_every_curve_keeps_what_the_oracle_keeps(curve, data):
    scenario = data.draw(scenarios(retention=curve))
    layer, told = assert_the_same(scenario)
    slab = layer.slab
    for position, strength in zip(slab["position"][0].tolist(), slab["strength"][0], strict=True):
        assert math.isclose(strength, told.tokens[position].strength, rel_tol=1e-12)


@pytest.mark.parametrize(
    "schedule",
    [
        Linear(last=0.8, start=10, over=30),
        Linear(last=0.0, over=20),
        Cosine(last=0.7, start=3, over=40),
        Feedback(target=0.4),
        Feedback(target=0.6, gain=1.0, low=0.05, high=0.9),
    ],
    ids=str,
)
@given(data=st.data())
def test_thresholds_that_move_keep_what_the_oracle_keeps(schedule, data):
    layer, told = assert_the_same(data.draw(scenarios(schedule=schedule)))
    if isinstance(schedule, Feedback):
        (held,) = layer.store.rows["threshold"].tolist()
        assert math.isclose(held, told.threshold.threshold, rel_tol=1e-9)
        assert all(schedule.low <= it <= schedule.high for it in told.threshold.held)


@pytest.mark.parametrize("schedule", [Linear(last=0.7, over=40), Feedback(target=0.3)], ids=str)
@settings(max_examples=6)
@given(data=st.data(), pad=st.integers(1, 30))
def test_padded_rows_and_heads_have_thresholds_of_their_own(schedule, data, pad):
    scenario = data.draw(scenarios(schedule=schedule))
    scenario.memory = by_head(scenario.memory)
    longest, short = scenario.tokens, max(scenario.tokens - pad, 1 + scenario.decoded)
    rows = [scenario, dataclasses.replace(scenario, tokens=short, seed=1)]
    valid = torch.arange(longest) >= longest - torch.tensor([[longest], [short]])
    batch = [torch.cat([own, torch.zeros_like(own)]) for own in scenario.qkv]
    for whole, own in zip(batch, rows[1].qkv, strict=True):
        whole[1, :, longest - short :] = own[0]
    layer = scenario.layer(SparseAttention())
    for start, stop in scenario.passes():
        layer.forward(*(t[:, :, start:stop] for t in batch), scenario.view, valid[:, start:stop])
    for number, row in enumerate(rows):
        alone = row.layer(SparseAttention())
        row.run(alone)
        assert kept_by_head(layer, number) == kept_by_head(alone)
        for name, held in alone.store.rows.items():
            assert torch.equal(layer.store.rows[name][2 * number : 2 * number + 2], held)


@pytest.mark.parametrize(
    "memory",
    [
        Memory(strength=0.2, threshold=0.05, schedule=Linear(last=0.6, over=60), recent=3),
        Memory(strength=0.2, threshold=0.6, schedule=Cosine(last=0.05, over=60), recent=3),
        Memory(strength=0.2, threshold=0.3, retention=ConstantWindowRetention(), recent=3),
        Memory(strength=0.2, threshold=0.3, retention=WickelgrenRetention(decay=1.5), recent=3),
        Memory(strength=0.2, threshold=0.3, retention=MemoryBankRetention(), recent=3),
    ],
    ids=["linear", "cosine", "constant_window", "wickelgren", "memory_bank"],
)
def test_idling_never_delays_a_death(memory, monkeypatch):
    memory = dataclasses.replace(memory, reinforcement=0.05, recall_threshold=0.3)
    scenario = Scenario(memory, 110, 2, 1, 3, 7, 100)
    lazy = scenario.layer(SparseAttention())
    asked = []
    dying = type(lazy.rule).dying
    monkeypatch.setattr(
        type(lazy.rule), "dying", lambda self, tokens: asked.append(1) or dying(self, tokens)
    )
    scenario.run(lazy)
    lazily = len(asked)
    settle = Remembering._settle

    def always(self, active, count):
        self._idle_until = 0
        settle(self, active, count)

    monkeypatch.setattr(Remembering, "_settle", always)
    eager = scenario.layer(SparseAttention())
    scenario.run(eager)
    assert kept_positions(lazy) == kept_positions(eager) != list(range(110))
    assert lazily < len(asked) - lazily  # and some looks are saved


@pytest.mark.parametrize("chunk", [1, 16, 64])
@pytest.mark.parametrize("target", [0.15, 0.4])
def test_feedback_brings_the_kept_share_to_its_target(chunk, target):
    """Within two chunks' worth of tokens, and a tenth: rehearsal answers back."""
    memory = Memory(
        strength=0.3, threshold=0.1, schedule=Feedback(target=target), reinforcement=0.02,
        recall_threshold=0.5, sinks=2, recent=4, prefill_chunk=chunk,
    )  # fmt: skip
    scenario = Scenario(memory, 400, 2, 1, 3, seed=4)
    layer = scenario.layer(SparseAttention())
    scenario.run(layer)
    kept = len(kept_positions(layer))
    assert abs(kept - target * 400) <= 2 * chunk * target + 0.1 * target * 400


def test_memory_bank_strengthens_by_recalls_and_not_by_what_they_weigh():
    memory = Memory(retention=MemoryBankRetention(), recall_threshold=0.2, reinforcement=2.0)
    scenario = Scenario(memory, 30, 1, 1, 2, seed=0)
    layer = scenario.layer(SparseAttention())
    scenario.run(layer)
    gained = (layer.slab["strength"] - memory.strength) / 2
    assert torch.equal(gained, gained.round()) and gained.max() >= 2


def test_a_constant_window_forgets_the_least_recently_used():
    memory = Memory(
        retention=ConstantWindowRetention(), strength=0.2, time_step=0.01, threshold=0.5,
        reinforcement=0.0, recall_threshold=None, sinks=1, recent=0,
    )  # fmt: skip
    scenario = Scenario(memory, 60, 1, 1, 2, seed=0, decoded=59)
    layer = scenario.layer(SparseAttention())
    scenario.run(layer)
    assert kept_positions(layer) == [0, *range(39, 60)]  # 0.2 / 0.01: up to an age of 20 tokens


def test_what_is_kept_for_certain_knows_how_high_a_threshold_comes():
    common = {"sinks": 4, "recent": 16}
    still = kept_for_certain(Memory(threshold=0.1, **common), 2, graded=False)
    risen = Memory(threshold=0.01, schedule=Linear(last=0.1), **common)
    assert kept_for_certain(risen, 2, graded=False) == still
    steered = Memory(threshold=0.01, schedule=Feedback(high=0.1), **common)
    assert kept_for_certain(steered, 2, graded=False) == still


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"schedule": Linear(), "budget": 0.5}, "schedule=linear is not allowed with budget=0.5"),
        ({"schedule": Cosine(), "retention": ConstantWindowRetention()}, "as long with every"),
        ({"schedule": Feedback(), "threshold": 0.0}, "threshold=0.0 is not allowed with schedule="),
        ({"schedule": Feedback(), "threshold": [0.1, 0.995]}, "threshold=0.995 is not allowed"),
        ({"schedule": Linear(), "policy": Window(), "budget": 0.5}, "with policy=window"),
        (
            {"retention": MemoryBankRetention(), "recall_threshold": None},
            "memory.recall_threshold=null is not allowed with retention=memory_bank",
        ),
        (
            {"retention": ConstantWindowRetention(), "budget": 0.5, "budget_by": "threshold"},
            "memory.budget_by=threshold is not allowed with retention=constant_window",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    from memollm.memory.budget import BudgetBy

    if "budget_by" in settings:
        settings = {**settings, "budget_by": BudgetBy(settings["budget_by"])}
    with pytest.raises(ValueError, match=message):
        Memory(**settings)


@pytest.mark.parametrize(
    ("part", "settings", "message"),
    [
        (Linear, {"last": 1.0}, r"schedule.last=1.0 is not allowed, it must lie in \[0, 1\)"),
        (Cosine, {"over": 0}, "schedule.over=0 is not allowed, it must be >= 1"),
        (Linear, {"start": -1}, "schedule.start=-1"),
        (Feedback, {"target": 1.0}, r"schedule.target=1.0 is not allowed, it must be in \(0, 1\)"),
        (Feedback, {"gain": 0.0}, "schedule.gain=0.0"),
        (Feedback, {"low": 0.5, "high": 0.4}, "schedule.low=0.5 .* at most schedule.high=0.4"),
        (Feedback, {"high": 1.0}, "schedule.high=1.0"),
    ],
)
def test_bad_settings_are_refused(part, settings, message):
    with pytest.raises(ValueError, match=message):
        part(**settings)
