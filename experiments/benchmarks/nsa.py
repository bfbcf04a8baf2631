"""Native sparse attention against dense attention, and against flash-linear-attention's reference.

    OMP_NUM_THREADS=1 python -m experiments.benchmarks.nsa --out experiments/010_mechanisms

One thread; time is the processor's (``thread_time``), so that what neighbours take does not count;
contenders take turns, the median counts. Everything is included: means, compression, choice
of blocks, gates. Before a case is timed, both contenders are compared where they must agree: with
every block selected, or, beside the reference, all over. Writes ``nsa.json``, ``nsa.md`` and
``nsa.png``; what these hold from earlier calls stays, unless it is measured again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from experiments.benchmarks.kept import earlier, merged
from experiments.benchmarks.mechanism_outsiders import has_fla
from experiments.benchmarks.nsa_picture import draw
from experiments.benchmarks.table import table
from memollm.nsa import nsa_func
from memollm.nsa.means import BlockMeans, block_means

NAMES = ["forward", "both", "decode"]
DIM, BLOCK = 64, 64
COMPARED = 2048  # tokens
CLOSE = 2e-5  # float32, of values of size about 1


@dataclass(frozen=True)
class Case:
    """A row of the table."""

    name: str  # forward, both (forward and backward), decode
    tokens: int
    heads: int
    kv_heads: int
    aim: float | None = None  # the other's time / ours
    against: str = "dense"  # dense: torch's own; fla: the plain functions of that library
    window: bool = True  # fla's reference of the window needs a GPU
    selected: int = 16  # blocks

    def queries(self) -> int:
        return 1 if self.name == "decode" else self.tokens


CASES = [
    Case("forward", 4096, 4, 4),
    Case("forward", 8192, 2, 2),
    Case("forward", 16384, 2, 2, 1.5),
    Case("forward", 32768, 1, 1, 2.2),
    Case("both", 4096, 4, 4),
    Case("both", 8192, 2, 2),
    Case("both", 16384, 2, 2, 1.5),
    Case("both", 32768, 1, 1),
    Case("decode", 8192, 8, 8),
    Case("decode", 16384, 8, 8),
    Case("decode", 32768, 8, 8),
    Case("decode", 65536, 8, 8, 8.0),
    Case("forward", 1024, 16, 1, 40, "fla", window=False, selected=8),
    Case("forward", 2048, 8, 8, 40, "fla", window=False),
]


def main() -> None:
    """Time the cases, print a line for each, write them all."""
    parser = argparse.ArgumentParser(description="Native sparse attention against dense")
    parser.add_argument("--turns", type=int, default=3, help="of each contender; the median counts")
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmarks"))
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--lengths", nargs="+", type=int, help="tokens; all, if none are given")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    machine = {
        "torch": torch.__version__, "machine": platform.machine(), "threads": 1,
        "dtype": "float32", "dim": DIM, "block": BLOCK, "window": 512, "turns": asked.turns,
    }  # fmt: skip
    print(machine)
    path = asked.out / "nsa.json"
    results = earlier(path)
    for case in CASES:
        if case.name not in asked.only or case.tokens not in (asked.lengths or [case.tokens]):
            continue
        if case.against == "fla" and not has_fla():
            print(f"{case.name} against fla: not installed, left out")
            continue
        other, ours = measure(case, asked.turns)
        result = asdict(case) | {"other_seconds": other, "seconds": ours, "ratio": other / ours}
        result |= {"load": os.getloadavg()[0]}
        results = merged(results, [result], ("against", "name", "tokens"))
        print(" ".join(row(result)), flush=True)
    asked.out.mkdir(parents=True, exist_ok=True)
    record = {"machine": machine, "results": results}
    path.write_text(json.dumps(record, indent=1), encoding="utf-8")
    (asked.out / "nsa.md").write_text(markdown(results), encoding="utf-8")
    draw(results, asked.out / "nsa.png")
    print(f"\n{markdown(results)}\n{path}")


def row(it: dict[str, Any]) -> list[str]:
    """A result, as the cells of a table."""
    aim = "" if it["aim"] is None else f"{it['aim']:g}"
    return [
        it["name"], str(it["tokens"]), f"{it['heads']}:{it['kv_heads']}", str(it["selected"]),
        it["against"],
        f"{1e3 * it['other_seconds']:.1f}", f"{1e3 * it['seconds']:.1f}", f"{it['ratio']:.2f}", aim,
    ]  # fmt: skip


def markdown(results: Sequence[dict[str, Any]]) -> str:
    """All results as a table."""
    head = [
        "pass", "tokens", "heads", "blocks", "against", "its ms", "ms", "times faster", "target",
    ]  # fmt: skip
    text = (
        "Native sparse attention (blocks of 64, window 512; no window beside fla"
        "'s plain functions) against PyTorch's dense causal attention; one thread, its CPU time."
    )
    return f"{text}\n\n{table(head, [row(it) for it in results])}\n"


def measure(case: Case, turns: int) -> list[float]:
    """Seconds of the other and of ours, once they are known to agree."""
    torch.manual_seed(0)
    lengths = (case.queries(), case.heads), *2 * [(case.tokens, case.kv_heads)]
    q, k, v = (torch.randn(1, length, heads, DIM) for length, heads in lengths)
    gate = torch.ones(1, case.queries(), case.heads)
    means = None
    if case.name == "decode":
        means = BlockMeans(BLOCK)  # kept along with the cache
        means.append(k, v)

    def sparse() -> Tensor:
        window = gate if case.window else None
        return nsa_func(q, k, v, gate, gate, window, block_counts=case.selected, means=means)

    if case.against == "fla":
        other = partial(reference, q, k, v, case.selected)
        torch.testing.assert_close(sparse(), other(), rtol=0, atol=CLOSE)
    else:
        other = partial(dense, q, k, v)
        agree(q, k, v)
    if case.name == "both":
        inputs = [tensor.requires_grad_() for tensor in (q, k, v)]
        return take_turns([partial(differentiate, way, inputs) for way in (other, sparse)], turns)
    with torch.no_grad():
        return take_turns([other, sparse], turns, repeat=20 if case.name == "decode" else 1)


def dense(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Torch's own attention, causal."""
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    return scaled_dot_product_attention(q, k, v, is_causal=q.shape[2] > 1).transpose(1, 2)


def reference(q: Tensor, k: Tensor, v: Tensor, selected: int) -> Tensor:
    """Compression and selection by flash-linear-attention's plain PyTorch functions."""
    from fla.ops.nsa.naive import (  # type: ignore
        naive_nsa_compression,
        naive_nsa_selection,
        naive_nsa_topk,
    )

    scale = DIM**-0.5
    keys, values = block_means(k, BLOCK), block_means(v, BLOCK)
    compressed = naive_nsa_compression(q, keys, values, BLOCK, scale)[0]
    indices = naive_nsa_topk(q, keys, selected, BLOCK, scale)
    return compressed + naive_nsa_selection(q, k, v, indices, BLOCK, scale)


def agree(q: Tensor, k: Tensor, v: Tensor) -> None:
    """Raise unless selecting every block is dense attention, for the first tokens."""
    q, k, v = (tensor[:, :COMPARED] for tensor in (q, k, v))
    every = torch.arange(k.shape[1] // BLOCK).expand(1, q.shape[1], k.shape[2], -1)
    ours = nsa_func(q, k, v, None, torch.ones_like(q[..., 0]), None, block_indices=every)
    torch.testing.assert_close(ours, dense(q, k, v), rtol=0, atol=CLOSE)


def differentiate(way: Callable[[], Tensor], inputs: Sequence[Tensor]) -> None:
    """A forward and a backward pass."""
    output = way()
    torch.autograd.grad(output, inputs, torch.ones_like(output))


def take_turns(
    contenders: Sequence[Callable[[], object]], turns: int, repeat: int = 1
) -> list[float]:
    """The median seconds of each, after one run that does not count."""
    spent: list[list[float]] = [[] for _ in contenders]
    for contender in contenders:
        contender()
    for _ in range(turns):
        for at, contender in enumerate(contenders):
            start = time.thread_time()
            for _ in range(repeat):
                contender()
            spent[at].append((time.thread_time() - start) / repeat)
    return [statistics.median(it) for it in spent]


if __name__ == "__main__":
    main()
