"""The compiled gate gives what the gate as it is written gives."""

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memollm.memory.strength.gate import Gate
from memollm.memory.strength.learned import GateSource
from memollm.native import gate as native
from memollm.native.library import NoKernelError, load

SINGLE = 1e-5  # of a strength, as a share of it: sums of a few hundred products


@pytest.fixture(autouse=True)
def _compiled():
    try:
        load()
    except NoKernelError as error:
        pytest.skip(str(error))
    assert native.kernel() is not None, "the kernel is wrong, and nobody uses it"


def strength(source, inputs):
    """Of tokens whose keys are of no interest."""
    return source(torch.zeros(len(inputs), 1, inputs.shape[1], 1), inputs)


@given(st.integers(1, 70), st.integers(0, 40), st.integers(1, 9), st.integers(1, 8))
def test_it_is_the_gate(width, hidden, outputs, tokens):
    torch.manual_seed(width)
    gate = Gate(width, hidden, outputs, lifetime=50.0)
    with torch.no_grad():
        gate.outer.weight.normal_()
    inputs = 3 * torch.randn(2, tokens, width)
    found = strength(GateSource(gate, 0.01, of_keys=False), inputs)
    with torch.no_grad():
        expected = 0.01 * gate(inputs).exp()  # as its docstring has it
    torch.testing.assert_close(found, expected.amax(dim=2), rtol=SINGLE, atol=0)


def test_few_tokens_are_its_and_many_are_not(monkeypatch):
    gate = Gate(6, 4, 1, lifetime=50.0)
    source = GateSource(gate, 0.01, of_keys=False)
    told = []
    compiled = native.CompiledGate.strengths

    def watched(self, inputs):
        found = compiled(self, inputs)
        told.append(found is not None)
        return found

    monkeypatch.setattr(native.CompiledGate, "strengths", watched)
    for tokens in (1, native.MOST, native.MOST + 1):
        strength(source, torch.randn(1, tokens, 6))
    strength(source, torch.randn(1, 6, 2).transpose(1, 2))  # of another layout
    assert told == [True, True, False, False]


def test_a_copied_source_is_as_good():
    source, inputs = (
        GateSource(Gate(6, 4, 1, lifetime=50.0), 0.01, of_keys=False),
        torch.randn(1, 1, 6),
    )
    assert strength(copy.deepcopy(source), inputs).equal(strength(source, inputs))


@pytest.mark.parametrize("x", [-1e4, -90.0, -1.0, 0.0, 1.0, 80.0])
def test_extremes_are_as_pytorchs(x):
    gate = Gate(1, 0, 1, lifetime=2.0)
    with torch.no_grad():
        gate.outer.weight.fill_(1.0)
        gate.outer.bias.fill_(0.0)
    found = strength(GateSource(gate, 1.0, of_keys=False), torch.full((1, 1, 1), x))
    assert float(found) == pytest.approx(1 + math.exp(x), rel=SINGLE)


def test_bfloat16_inputs_and_double_ones_are_read():
    gate = Gate(6, 4, 1, lifetime=50.0)
    source, inputs = GateSource(gate, 0.01, of_keys=False), torch.randn(1, 2, 6)
    single, half = strength(source, inputs), inputs.bfloat16()
    torch.testing.assert_close(
        strength(source, half), strength(source, half.float()), rtol=SINGLE, atol=0
    )
    torch.testing.assert_close(
        strength(source, inputs.double()), single.double(), rtol=SINGLE, atol=0
    )
