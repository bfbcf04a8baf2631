"""Damped attention: its gradient, its ages, and its limit, which is forgetting."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memollm.gating.config import GateTraining
from memollm.gating.damped import attend_damped, log_retention, overflow
from memollm.gating.gates import Gating
from memollm.gating.student import Student
from memollm.hf.attachment import attach
from memollm.hf.families import memory_layers
from memollm.memory.granularity import Granularity
from memollm.memory.strength.learned import Learned
from memollm.modes.soft_delete import SoftDelete, Target
from tests.hf.gating import EXTREME, write_gates
from tests.hf.tiny import FLOAT64, forgetful, prompt, tiny_model


def inputs(pairs, queries, heads=2, seed=0):
    """Queries of four heads, keys and values of two, log lifetimes of ``heads``."""
    made = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=made, dtype=torch.float64)  # noqa: E731
    return draw(2, 4, queries, 3), draw(2, 2, pairs, 3), draw(2, 2, pairs, 3), draw(2, heads, pairs)


@pytest.mark.parametrize("heads", [1, 2])
def test_its_gradient_is_right(heads):
    parts = [it.requires_grad_() for it in inputs(7, 3, heads)]

    def damped(q, k, v, lifetime):
        return attend_damped(q, k, v, log_retention(lifetime, 3, sinks=1, recent=1), 0.6)

    assert torch.autograd.gradcheck(damped, parts)


def test_the_gradient_of_the_overflow_is_right():
    lifetime = inputs(7, 3)[3].requires_grad_()
    over = lambda it: overflow(log_retention(it, 3, 1, 1), 0.2)  # noqa: E731
    assert torch.autograd.gradcheck(over, [lifetime])


@given(
    st.integers(1, 9), st.integers(0, 6), st.integers(0, 4), st.integers(0, 4), st.integers(0, 99)
)
def test_retention_is_that_of_the_definition(queries, older, sinks, recent, seed):
    pairs = older + queries
    lifetime = inputs(pairs, queries, seed=seed)[3][:1, :1]
    found = log_retention(lifetime, queries, sinks, recent)[0, 0]
    for row, query in enumerate(range(older, pairs)):
        for pair in range(pairs):
            age = max(query - 1 - pair, 0)  # when the token before the query had been processed
            expected = -age / math.exp(lifetime[0, 0, pair])
            if pair < sinks or pair >= query - recent:
                expected = 0.0
            if pair > query:
                expected = -math.inf
            assert float(found[row, pair]) == pytest.approx(expected, abs=1e-12)


def test_as_retention_falls_to_zero_damping_becomes_eviction():
    q, k, v, _ = inputs(9, 1)
    gone = torch.tensor([1, 4, 6])
    kept = torch.tensor([0, 2, 3, 5, 7, 8])
    errors = []
    for lifetime in (1.0, 0.1, 0.01):
        ln = torch.full((2, 2, 9), 60.0, dtype=torch.float64)
        ln[..., gone] = math.log(lifetime)
        out = attend_damped(q, k, v, log_retention(ln, 1, sinks=0, recent=0), 0.6)
        alone = torch.zeros(2, 2, 1, 6, dtype=torch.float64)
        errors.append(
            float((out - attend_damped(q, k[:, :, kept], v[:, :, kept], alone, 0.6)).abs().max())
        )
    assert errors[0] > errors[1] > errors[2] and errors[2] < FLOAT64


def test_the_overflow_is_what_is_held_beyond_the_budget():
    forever = torch.full((1, 1, 10), 99.0)
    retention = log_retention(forever, 2, sinks=0, recent=0)
    assert float(overflow(retention, 0.5)) == pytest.approx(1.0)
    assert float(overflow(retention, 5)) == pytest.approx((9 / 5 + 10 / 5) / 2 - 1)
    assert float(overflow(retention, 10)) == 0.0


def damped_logits(model, folder, ids, graded, chunk):
    """What the student says with the gates of ``folder``."""
    gates = Learned(folder).gates().layers
    full = memory_layers(type(model), model.config, forgetful())  # sliding ones have no memory
    student = Student(model, {layer: gates[layer].double() for layer in full}, False, 1, 2)
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
    student = Student(model, _sharp(folder), False, 1, 2)
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
    student = Student(model, {k: it.double() for k, it in gating.layers().items()}, False, 1, 2)
    with student.attached(), torch.no_grad():
        fresh = student.damped(ids, 9, 6)
        untouched = student.untouched(ids, 9)
    assert (fresh - untouched).abs().max() <= 1e-6 * untouched.abs().max()
