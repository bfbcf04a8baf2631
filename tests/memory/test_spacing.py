"""Massed and spaced recalls of one token, by closed formulas."""

import math

import pytest

from memollm.memory.ebbinghaus import Memory
from memollm.memory.retention import MemoryBankRetention
from memollm.memory.spacing import arrangements, spacing


def outcomes(memory, **changes):
    settings = {"threshold": 0.1, "recalls": 4, "span": 40, "delay": 20, "weight": 0.5, **changes}
    return {it.arrangement: it for it in spacing(memory, **settings)}


def test_strength_is_the_same_and_only_the_last_recall_counts():
    found = outcomes(Memory(strength=1.0))
    assert [it.strength for it in found.values()] == [3.0, 3.0, 3.0]
    assert found["spaced"].retention == pytest.approx(math.exp(-20 * 0.01 / 3.0))
    assert found["spaced"].retention == found["massed late"].retention
    assert found["massed early"].retention == pytest.approx(math.exp(-56 * 0.01 / 3.0))
    life = -3.0 * math.log(0.1) / 0.01
    assert (
        found["massed late"].forgotten_at
        == found["spaced"].forgotten_at
        == pytest.approx(40 + life)
    )
    assert found["massed early"].forgotten_at == pytest.approx(4 + life)


def test_recalls_that_come_after_the_token_is_forgotten_are_missed():
    found = outcomes(Memory(strength=0.02), span=200)  # lives 4.6 tokens
    assert [found[name].missed for name in found] == [0, 4, 4]
    assert found["spaced"].forgotten_at == found["massed late"].forgotten_at == 5
    assert found["spaced"].retention == 0 and found["spaced"].strength == 0.02


def test_memory_banks_recalls_add_one_whatever_they_weigh():
    found = outcomes(Memory(strength=1.0, retention=MemoryBankRetention()), weight=0.02)
    assert [it.strength for it in found.values()] == [5.0, 5.0, 5.0]


def test_more_recalls_than_queries_are_refused():
    with pytest.raises(ValueError, match="recalls=5 is not allowed, a span of 4"):
        arrangements(5, 4)
