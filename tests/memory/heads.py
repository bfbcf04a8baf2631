"""Scenarios in which every key-value head of a layer has a memory of its own."""

from __future__ import annotations

import dataclasses

import torch
from hypothesis import strategies as st

from memollm.hf.remembering import Remembering
from memollm.memory.granularity import Granularity, HeadBudgets
from memollm.memory.head_oracle import HeadOracle

from .scenario import Scenario, kept_positions, memories


def by_head(memory, **changes):
    return dataclasses.replace(memory, granularity=Granularity.head, **changes)


def kept_by_head(layer: Remembering, sequence: int = 0) -> list[list[int]]:
    """Positions that each head of a sequence has not forgotten."""
    return [kept_positions(layer, sequence * layer.heads + head) for head in range(layer.heads)]


def oracle(scenario: Scenario, mode) -> HeadOracle:
    """As many oracles of one head as the scenario has key-value heads."""
    heads = [scenario.oracle_of(mode) for _ in range(scenario.kv_heads)]
    return HeadOracle(heads, scenario.memory.floor)


def told(scenario: Scenario, oracle: HeadOracle):
    """The oracle's outputs (1, heads, tokens, dim) after the scenario's chunks."""
    rows = [t[0].transpose(0, 1).tolist() for t in scenario.qkv]
    outs = []
    for start, stop in scenario.chunks():
        outs += oracle.chunk(*(row[start:stop] for row in rows))
    return torch.tensor(outs, dtype=torch.float64).transpose(0, 1)[None]


def adaptive():
    """Memories by head whose heads share a budget."""
    budgets = memories().filter(lambda it: it.budget is not None)
    shared = {"head_budgets": HeadBudgets.adaptive}
    return st.builds(
        lambda memory, floor: by_head(memory, head_floor=floor, **shared),
        budgets,
        st.sampled_from([0.0, 0.2, 0.7, 1.0]),
    )


def scenarios(memory=None):
    return st.builds(
        lambda memory, tokens, groups, kv_heads, dim, seed, decoded: Scenario(
            memory, tokens, groups * kv_heads, kv_heads, dim, seed, min(decoded, tokens - 1)
        ),
        st.builds(by_head, memories()) if memory is None else memory,
        st.integers(2, 40), st.integers(1, 2), st.integers(2, 3), st.sampled_from([2, 5]),
        st.integers(0, 10**6), st.integers(0, 20),
    )  # fmt: skip
