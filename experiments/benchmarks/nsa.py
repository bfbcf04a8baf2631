"""Native sparse attention against dense attention: python -m experiments.benchmarks.nsa.

One thread; time is the processor's (``thread_time``), so that what neighbours take does not count;
contenders take turns, and the best turn counts. Everything is included: means, compression, choice
of blocks, gates. Before a case is timed, both contenders are compared where they must agree: with
every block selected.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from memollm.nsa import nsa_func
from memollm.nsa.means import BlockMeans

DIM = 64
COMPARED = 2048  # tokens
CLOSE = 2e-5  # float32, of values of size about 1


@dataclass(frozen=True)
class Case:
    """A row of the table."""

    name: str  # forward, both (forward and backward), decode
    tokens: int
    heads: int
    kv_heads: int
    aim: float  # dense time / ours

    def queries(self) -> int:
        return 1 if self.name == "decode" else self.tokens


CASES = [
    Case("forward", 16384, 2, 2, 1.5),
    Case("forward", 32768, 1, 1, 2.2),
    Case("both", 16384, 2, 2, 1.5),
    Case("decode", 65536, 8, 8, 8.0),
]


def main() -> None:
    """Time the cases and print a line for each."""
    parser = argparse.ArgumentParser(description="Native sparse attention against dense")
    parser.add_argument("--turns", type=int, default=3, help="of each contender; the best counts")
    turns = parser.parse_args().turns
    torch.set_num_threads(1)
    print(
        f"torch {torch.__version__}, {platform.machine()}, 1 thread, float32, dim {DIM}, blocks of "
        f"64, 16 selected, window 512; load {os.getloadavg()[0]:.1f}"
    )
    print(f"{'case':8} {'tokens':>6} {'heads':>5} {'dense ms':>9} {'nsa ms':>9} {'ratio':>6} aim")
    for case in CASES:
        dense, sparse = (1e3 * seconds for seconds in measure(case, turns))
        print(
            f"{case.name:8} {case.tokens:6} {case.heads:5} {dense:9.2f} {sparse:9.2f} "
            f"{dense / sparse:6.2f} {case.aim}",
            flush=True,
        )


def measure(case: Case, turns: int) -> list[float]:
    """Seconds of dense attention and of ours, once they are known to agree."""
    torch.manual_seed(0)
    lengths = (case.queries(), case.heads), *2 * [(case.tokens, case.kv_heads)]
    q, k, v = (torch.randn(1, length, heads, DIM) for length, heads in lengths)
    gate = torch.ones(1, case.queries(), case.heads)
    means = None
    if case.name == "decode":
        means = BlockMeans(64)  # kept along with the cache
        means.append(k, v)

    def sparse() -> Tensor:
        return nsa_func(q, k, v, gate, gate, gate, means=means)

    agree(q, k, v)
    if case.name == "both":
        inputs = [tensor.requires_grad_() for tensor in (q, k, v)]
        contenders = (partial(dense, q, k, v), sparse)
        return take_turns([partial(differentiate, way, inputs) for way in contenders], turns)
    with torch.no_grad():
        repeat = 20 if case.name == "decode" else 1
        return take_turns([partial(dense, q, k, v), sparse], turns, repeat)


def dense(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Torch's own attention, causal."""
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    return scaled_dot_product_attention(q, k, v, is_causal=q.shape[2] > 1).transpose(1, 2)


def agree(q: Tensor, k: Tensor, v: Tensor) -> None:
    """Raise unless selecting every block is dense attention, for the first tokens."""
    q, k, v = (tensor[:, :COMPARED] for tensor in (q, k, v))
    every = torch.arange(k.shape[1] // 64).expand(1, q.shape[1], k.shape[2], -1)
    ours = nsa_func(q, k, v, None, torch.ones_like(q[..., 0]), None, block_indices=every)
    torch.testing.assert_close(ours, dense(q, k, v), rtol=0, atol=CLOSE)


def differentiate(way: Callable[[], Tensor], inputs: Sequence[Tensor]) -> None:
    """A forward and a backward pass."""
    output = way()
    torch.autograd.grad(output, inputs, torch.ones_like(output))


def take_turns(
    contenders: Sequence[Callable[[], object]], turns: int, repeat: int = 1
) -> list[float]:
    """The best seconds of each, after one run that does not count."""
    best = [float("inf")] * len(contenders)
    for contender in contenders:
        contender()
    for _ in range(turns):
        for at, contender in enumerate(contenders):
            start = time.thread_time()
            for _ in range(repeat):
                contender()
            best[at] = min(best[at], (time.thread_time() - start) / repeat)
    return best


if __name__ == "__main__":
    main()
