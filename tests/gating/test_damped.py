"""Damped attention: its gradient, its ages, and its limit, which is forgetting."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memollm.gating.config import GateTraining
from memollm.gating.damped import attend_damped, memories, overflow, times
from memollm.gating.gates import Gating
from memollm.gating.student import Forgetting, Student
from memollm.hf.attachment import attach
from memollm.hf.families import memory_layers
from memollm.memory.forgetting import over_budget, protected
from memollm.memory.granularity import Granularity
from memollm.memory.strength.learned import Learned
from memollm.modes.soft_delete import SoftDelete, Target
from tests.hf.gating import EXTREME, write_gates
from tests.hf.tiny import FLOAT64, forgetful, prompt, tiny_model

EVERY_TOKEN = Forgetting(sinks=1, recent=2, every=1)


def inputs(pairs, queries, heads=2, seed=0):
    """Queries of four heads, keys and values of two, log lifetimes of ``heads``."""
    made = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=made, dtype=torch.float64)  # noqa: E731
    return draw(2, 4, queries, 3), draw(2, 2, pairs, 3), draw(2, 2, pairs, 3), draw(2, heads, pairs)


def retention(lifetime, queries, sinks=1, recent=1, every=1, **rest):
    """Logarithm of R as the last queries see it."""
    return Forgetting(sinks, recent, every, **rest).retention(lifetime, queries)


@pytest.mark.parametrize(("heads", "budget"), [(1, None), (2, 0.6), (1, 4)])
def test_its_gradient_is_right(heads, budget):
    parts = [it[:1].clone().requires_grad_() for it in inputs(7, 3, heads)]

    def damped(q, k, v, lifetime):
        seen = retention(lifetime, 3, every=2, budget=budget, sharpness=1.5)
        return attend_damped(q, k, v, seen, 0.6)

    assert torch.autograd.gradcheck(damped, parts)


def test_the_gradient_of_the_overflow_is_right():
    lifetime, settled = inputs(7, 3)[3].requires_grad_(), torch.tensor([4, 6])
    over = lambda it: overflow(memories(it, settled, 1, 1), settled, 0.2)  # noqa: E731
    assert torch.autograd.gradcheck(over, [lifetime])


@given(
    st.integers(1, 9), st.integers(0, 6), st.integers(0, 4), st.integers(0, 4), st.integers(1, 4),
    st.integers(0, 99),
)  # fmt: skip
def test_retention_is_that_of_the_definition(queries, older, sinks, recent, every, seed):
    pairs = older + queries
    lifetime = inputs(pairs, queries, seed=seed)[3][:1, :1]
    found = retention(lifetime, queries, sinks, recent, every)[0, 0]
    for row, query in enumerate(range(older, pairs)):
        settled = query - row % every  # tokens seen when the memory last forgot
        for pair in range(pairs):
            expected = -max(settled - 1 - pair, 0) / math.exp(lifetime[0, 0, pair])
            if pair < sinks or pair >= settled - recent:
                expected = 0.0
            if pair > query:
                expected = -math.inf
            assert float(found[row, pair]) == pytest.approx(expected, abs=1e-12)


@given(st.integers(8, 40), st.integers(0, 2), st.integers(0, 3), st.integers(0, 99))
def test_a_budget_is_what_retention_sums_to(pairs, sinks, recent, seed):
    lifetime, settled = inputs(pairs, 1, seed=seed)[3], torch.tensor([pairs // 2, pairs])
    for budget in (0.75, sinks + recent + 1):
        memory = memories(lifetime, settled, sinks, recent, budget, sharpness=2.0)
        least = sinks + max(recent, 1) + 1  # whoever is protected, and one
        told = [budget * it if isinstance(budget, float) else budget for it in settled.tolist()]
        room = [
            min(max(wanted, least), it) for wanted, it in zip(told, settled.tolist(), strict=True)
        ]
        held = memory.exp().sum(dim=-1)
        torch.testing.assert_close(held, torch.tensor(room).to(held).expand_as(held))


def test_a_common_factor_of_lifetimes_changes_nothing_under_a_budget():
    lifetime, settled = inputs(30, 1)[3], torch.tensor([30])
    some, longer = (memories(it, settled, budget=9, recent=2) for it in (lifetime, lifetime + 3))
    torch.testing.assert_close(some, longer)


def test_sharp_retention_keeps_whom_eviction_by_rank_keeps():
    lifetime, settled = inputs(40, 1, heads=1, seed=5)[3], torch.tensor([40])
    kept = memories(lifetime, settled, sinks=2, recent=3, budget=12, sharpness=200.0).exp()
    age = torch.arange(39, -1, -1)
    left = torch.exp(-age / lifetime[:, 0].exp())
    position, there = torch.arange(40).expand(2, 40), torch.ones(2, 40, dtype=torch.bool)
    seen = torch.full((2,), 40)
    spared = protected(position, seen, sinks=2, recent=3)
    gone = over_budget(left, position, there, spared, torch.full((2,), 12))
    torch.testing.assert_close(kept[:, 0, 0].round(), (~gone).to(kept))
    assert ((kept - kept.round()).abs() > 0.01).sum() <= 2 * 2  # who stands on the edge


def test_as_retention_falls_to_zero_damping_becomes_eviction():
    q, k, v, _ = inputs(9, 1)
    gone = torch.tensor([1, 4, 6])
    kept = torch.tensor([0, 2, 3, 5, 7, 8])
    errors = []
    for lifetime in (1.0, 0.1, 0.01):
        ln = torch.full((2, 2, 9), 60.0, dtype=torch.float64)
        ln[..., gone] = math.log(lifetime)
        out = attend_damped(q, k, v, retention(ln, 1, sinks=0, recent=0), 0.6)
        alone = torch.zeros(2, 2, 1, 6, dtype=torch.float64)
        errors.append(
            float((out - attend_damped(q, k[:, :, kept], v[:, :, kept], alone, 0.6)).abs().max())
        )
    assert errors[0] > errors[1] > errors[2] and errors[2] < FLOAT64


def test_the_overflow_is_what_is_held_beyond_the_budget():
    settled = times(10, 2, every=1)
    memory = memories(torch.full((1, 1, 10), 99.0), settled, sinks=0, recent=0)
    assert float(overflow(memory, settled, 0.5)) == pytest.approx(1.0)
    assert float(overflow(memory, settled, 5)) == pytest.approx((8 / 5 + 9 / 5) / 2 - 1)
    assert float(overflow(memory, settled, 10)) == 0.0


def damped_logits(model, folder, ids, graded, chunk):
    """What the student says with the gates of ``folder``."""
    gates = Learned(folder).gates().layers
    full = memory_layers(type(model), model.config, forgetful())  # sliding ones have no memory
    student = Student(model, {layer: gates[layer].double() for layer in full}, False, EVERY_TOKEN)
    with student.attached(), torch.no_grad():
        return student.damped(ids, graded, chunk)


@pytest.mark.parametrize("family", ["qwen3", "gemma2", "gpt2"])
def test_the_proxy_is_soft_deletion_by_logit_bias(family, tmp_path):
    """Settled after every token, a memory attenuates as the proxy does, layer by layer."""
    model, ids = tiny_model(family, layers=2), prompt(24, batch=2)
    folder = write_gates(model, tmp_path, outputs=2 if family == "qwen3" else 1)
    memory = forgetful(
        birth=Learned(folder), threshold=0.0, prefill_chunk=1, time_step=1.0,
        granularity=Granularity.head if family == "qwen3" else Granularity.layer,
    )  # fmt: skip
    with attach(model, memory, SoftDelete(Target.logit_bias, floor=0.0)):
        settled = model(ids).logits[:, -9:]
    difference = damped_logits(model, folder, ids, graded=9, chunk=6) - settled
    assert difference.abs().max() <= FLOAT64 * settled.abs().max().clamp(min=1)


def test_proxy_and_eviction_agree_in_the_limit(tmp_path):
    """With lifetimes of one token or for ever, a moment after a token's protection ends."""
    model, ids = tiny_model(layers=2), prompt(24)
    folder = write_gates(model, tmp_path, between=EXTREME)
    memory = forgetful(birth=Learned(folder), threshold=0.5, prefill_chunk=1, time_step=1.0)
    with attach(model, memory):
        evicted = model(ids).logits[:, -9:]
    student = Student(model, _sharp(folder), False, EVERY_TOKEN)
    with student.attached(), torch.no_grad():
        proxy = student.damped(ids, 9, 6)
    assert (proxy - evicted).abs().max() <= FLOAT64 * evicted.abs().max().clamp(min=1)
    assert (evicted - model(ids).logits[:, -9:]).abs().max() > 1e-3


def _sharp(folder):
    """The gates with lifetimes cut to 1e-6 tokens where they are one: the limit itself."""
    gates = Learned(folder).gates().layers
    return {layer: Sharp(gate.double()) for layer, gate in gates.items()}


class Sharp(torch.nn.Module):
    def __init__(self, gate):
        super().__init__()
        self.gate = gate

    def forward(self, given):
        found = self.gate(given)
        return torch.where(found < 1, -14.0, found)


def test_a_fresh_gate_forgets_nothing():
    model, ids = tiny_model(layers=2), prompt(24)
    features = {layer: torch.randn(50, 32) for layer in (0, 1)}
    gating = Gating(features, GateTraining(lifetime=1e9), kv_heads=2)
    student = Student(
        model, {k: it.double() for k, it in gating.layers().items()}, False, EVERY_TOKEN
    )
    with student.attached(), torch.no_grad():
        fresh = student.damped(ids, 9, 6)
        untouched = student.untouched(ids, 9)
    assert (fresh - untouched).abs().max() <= 1e-6 * untouched.abs().max()
