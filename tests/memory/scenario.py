"""Random memories and random attention, for tests that compare implementations."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from hypothesis import strategies as st

from memollm.attention.view import View
from memollm.hf.remembering import Remembering
from memollm.hf.rules import rules
from memollm.memory import prefill
from memollm.memory.ebbinghaus import Memory
from memollm.memory.oracle import Oracle
from memollm.modes.base import Mode
from memollm.modes.soft_delete import SoftDelete, Target
from memollm.modes.sparse_attention import SparseAttention, Storage


@dataclass
class Scenario:
    """One row of queries, keys and values of one layer, and the chunks it comes in."""

    memory: Memory
    tokens: int
    heads: int
    kv_heads: int
    dim: int
    seed: int
    decoded: int = 0  # last tokens, passed one by one
    dtype: torch.dtype = torch.float64
    qkv: tuple = field(init=False)

    def __post_init__(self):
        generator = torch.Generator().manual_seed(self.seed)

        def random(heads):
            shape = (1, heads, self.tokens, self.dim)
            return (2 * torch.randn(shape, generator=generator, dtype=torch.float64)).to(self.dtype)

        self.qkv = random(self.heads), random(self.kv_heads), random(self.kv_heads)

    @property
    def window(self):
        """Last queries of a prompt's chunk that rehearse; None: all."""
        kind = self.memory.prefill_reinforcement
        return {"exact": None, "window": prefill.WINDOW, "none": 0}[kind]

    @property
    def view(self):
        return View(scaling=self.dim**-0.5)

    def passes(self):
        """The forward passes: the prompt in one, then token by token."""
        prompt = self.tokens - self.decoded
        return [(0, prompt), *((i, i + 1) for i in range(prompt, self.tokens))]

    def chunks(self):
        """The chunks that retention is applied after."""
        size = self.memory.prefill_chunk
        for start, stop in self.passes():
            for at in range(start, stop, size):
                yield at, min(at + size, stop)

    def layer(self, mode: Mode, **options):
        return Remembering(self.memory, mode, rules(self.memory, mode, [None])[0], **options)

    def run(self, layer: Remembering):
        """Outputs of all tokens (1, heads, tokens, dim)."""
        outs = []
        for start, stop in self.passes():
            q, k, v = (t[:, :, start:stop] for t in self.qkv)
            outs.append(layer.forward(q, k, v, self.view)[0])
        return torch.cat(outs, dim=2)

    def oracle_of(self, mode: Mode):
        """An oracle that has seen nothing."""
        memory = self.memory
        soft = mode if isinstance(mode, SoftDelete) else None
        return Oracle(
            memory.strength, memory.time_step, memory.reinforcement, memory.recall_threshold,
            memory.threshold if memory.budget is None else 0.0, memory.budget,
            memory.sinks, memory.recent, self.window,
            target=soft.target.value if soft else None,
            floor=soft.floor if soft else 0.0,
            compounding=soft.compounding if soft else False,
            budget_length=memory.budget_length,
        )  # fmt: skip

    def oracle(self, mode: Mode, oracle: Oracle | None = None):
        """The oracle's outputs and the oracle itself, after the same chunks."""
        oracle = self.oracle_of(mode) if oracle is None else oracle
        outs = []
        rows = [t[0].transpose(0, 1).tolist() for t in self.qkv]
        for start, stop in self.chunks():
            outs += oracle.chunk(*(row[start:stop] for row in rows))
            oracle.settle(oracle.ballot())
        return torch.tensor(outs, dtype=torch.float64).transpose(0, 1)[None], oracle


def memories():
    """Memories that forget within a few dozen tokens."""
    settings = dict(
        strength=st.sampled_from([0.05, 0.1, 0.3]),
        time_step=st.sampled_from([0.01, 0.02]),
        reinforcement=st.sampled_from([0.0, 0.02, 0.3]),
        recall_threshold=st.sampled_from([None, 0.1, 0.3, 0.9]),
        sinks=st.integers(0, 4),
        recent=st.integers(0, 8),
        prefill_chunk=st.integers(1, 25),
    )
    by_threshold = st.builds(Memory, threshold=st.sampled_from([0.1, 0.3, 0.7]), **settings)
    by_budget = st.builds(
        Memory, threshold=st.just("auto"), budget=st.sampled_from([0.25, 0.6, 12]), **settings
    )
    by_length = st.builds(
        Memory, budget=st.sampled_from([0.25, 0.6]), budget_length=st.integers(1, 40), **settings
    )
    return by_threshold | by_budget | by_length


def scenarios(dtype=torch.float64):
    return st.builds(
        lambda memory, tokens, groups, kv_heads, dim, seed, decoded: Scenario(
            memory, tokens, groups * kv_heads, kv_heads, dim, seed, min(decoded, tokens - 1), dtype
        ),
        memories(), st.integers(2, 45), st.integers(1, 3), st.integers(1, 2),
        st.sampled_from([2, 5]), st.integers(0, 10**6), st.integers(0, 20),
    )  # fmt: skip


MODES = [
    SparseAttention(),
    SparseAttention(Storage.mask),
    *(SoftDelete(target, 0.1) for target in Target),
    SoftDelete(Target.key, 0.5, compounding=True),
    SoftDelete(Target.logit_bias, 0.5, compounding=True),
]


def kept_positions(layer: Remembering, row: int = 0) -> list[int]:
    """Positions that are not forgotten, whatever storage they have."""
    position, forgotten = layer.slab["position"][row], layer.slab["forgotten"][row]
    return sorted(position[(position >= 0) & ~forgotten].tolist())
