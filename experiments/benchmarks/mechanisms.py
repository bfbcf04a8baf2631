"""All attention mechanisms against torch's attention: latency, memory, crossover lengths.

    OMP_NUM_THREADS=1 python -m experiments.benchmarks.mechanisms
    OMP_NUM_THREADS=1 python -m experiments.benchmarks.mechanisms --only local linear --lengths 8192

One row of 4 heads of 64 numbers, causal where a mechanism can be, against
``scaled_dot_product_attention`` of the same kind; without projections. One thread, its processor
time, entrants taking turns, the median turn counts. Memory is what a call holds at most beyond its
inputs, tensor by tensor. Before anything is timed, every mechanism is compared with what it must be
equal to. An entrant whose turns at a length would take more than ``--limit`` seconds, by its time
at the length before and four times as many pairs, is left out and named. Writes
``mechanisms.json``, ``mechanisms.md`` and ``mechanisms.png``; what these hold from earlier calls
stays, unless it is measured again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from experiments.benchmarks import mechanism_outsiders
from experiments.benchmarks.kept import earlier, merged
from experiments.benchmarks.mechanism_equivalence import require_agreement
from experiments.benchmarks.mechanism_picture import draw
from experiments.benchmarks.nsa import differentiate, take_turns
from experiments.benchmarks.table import table
from memollm.attention.config import attention_types
from memollm.attention.held import most_held
from memollm.attention.mechanisms.base import HeadShape, Mechanism
from memollm.attention.mechanisms.dense import Dense
from memollm.attention.mechanisms.scope import Scope
from memollm.registry import groups

HEADS, DIM, WIDTH = 4, 64, 256
LENGTHS = (512, 1024, 2048, 4096, 8192, 16384)
SETTINGS: dict[str, dict[str, Any]] = {  # other than a mechanism's own defaults
    "local": {"window_size": 512},
    "longformer": {"window_size": 512},
    "cosformer": {"max_seq_len": 2**17},
    "linformer": {"max_seq_len": 2**14},
}
PASSES = ("forward", "both")  # both: forward and backward
RESULT = ("pass", "tokens", "name")  # what a result is of

Entrant = Callable[[], Tensor]


def main() -> None:
    """Compare, measure, write."""
    parser = argparse.ArgumentParser(description="Attention mechanisms against torch's attention")
    parser.add_argument("--only", nargs="+", choices=attention_types(), default=attention_types())
    parser.add_argument("--lengths", nargs="+", type=int, default=LENGTHS, help="tokens")
    parser.add_argument("--passes", nargs="+", choices=PASSES, default=PASSES)
    parser.add_argument("--turns", type=int, default=3, help="of each entrant; the median counts")
    parser.add_argument("--limit", type=float, default=60, help="seconds of an entrant's turns")
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmarks"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for name in asked.only:
        require_agreement(name)
    print(f"{len(asked.only)} mechanisms agree with what they must be equal to", flush=True)
    path = asked.out / "mechanisms.json"
    results = earlier(path)
    for tokens, which in itertools.product(asked.lengths, asked.passes):
        names, slow = split(asked.only, results, tokens, which, asked.limit / (asked.turns + 2))
        left = [{"name": it, "tokens": tokens, "pass": which, "left_out": True} for it in slow]
        found = measured(names, tokens, which, asked.turns)
        results = merged(results, left + found, RESULT)
        for it in found:
            print(line(it), flush=True)
        write(results, asked)
    print(f"\n{(asked.out / 'mechanisms.md').read_text(encoding='utf-8')}\n{path}")


def write(results: Sequence[dict[str, Any]], asked: argparse.Namespace) -> None:
    """All results so far, as data, as tables and as a picture."""
    asked.out.mkdir(parents=True, exist_ok=True)
    told = {"settings": SETTINGS, "turns": asked.turns, "limit": asked.limit}
    record = {"machine": machine(), **told, "results": results}
    skipped = [it for it in results if "left_out" in it]
    results = [it for it in results if "left_out" not in it]
    text = markdown(results, skipped)
    (asked.out / "mechanisms.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    (asked.out / "mechanisms.md").write_text(text, encoding="utf-8")
    # Dense ones are torch's attention itself, a line at 1.
    parts = groups()["mechanism"]
    lines = [it for it in results if not issubclass(parts.get(it["name"], object), Dense)]
    draw(lines, asked.out / "mechanisms.png")


def split(
    names: Sequence[str], results: Sequence[dict[str, Any]], tokens: int, which: str, limit: float
) -> tuple[list[str], list[str]]:
    """Those whose call may take at most ``limit`` seconds at this length, and the others.

    >>> before = [{"name": "full", "tokens": 512, "pass": "both", "seconds": 3.0}]
    >>> split(["full", "local"], before, tokens=1024, which="both", limit=10.0)
    (['local'], ['full'])
    """
    slow = {
        it["name"]
        for it in results
        if it["pass"] == which and it["tokens"] < tokens
        and ("left_out" in it or it["seconds"] * (tokens / it["tokens"]) ** 2 > limit)
        and it["tokens"] == _longest_below(results, it["name"], which, tokens)
    }  # fmt: skip
    return [it for it in names if it not in slow], [it for it in names if it in slow]


def _longest_below(results: Sequence[dict[str, Any]], name: str, which: str, tokens: int) -> int:
    mine = [it for it in results if it["name"] == name and it["pass"] == which]
    return max(it["tokens"] for it in mine if it["tokens"] < tokens)


def machine() -> dict[str, Any]:
    """What the figures hold for."""
    return {
        "torch": torch.__version__, "machine": platform.machine(), "threads": 1,
        "processor": platform.processor(), "dtype": "float32",
        "heads": HEADS, "head_dim": DIM, "outsiders": mechanism_outsiders.available(),
    }  # fmt: skip


def measured(names: Sequence[str], tokens: int, which: str, turns: int) -> list[dict[str, Any]]:
    """A result for each entrant, beside torch's attention of the same kind."""
    torch.manual_seed(0)
    inputs = [torch.randn(1, HEADS, tokens, DIM) for _ in range(3)]
    if which == "both":
        inputs = [it.requires_grad_() for it in inputs]
    bases = {
        causal: partial(scaled_dot_product_attention, *inputs, is_causal=causal)
        for causal in (True, False)
    }
    entrants = {name: ours(name, inputs) for name in names}
    others = mechanism_outsiders.outsiders(*inputs)
    entrants |= {name: (True, it.call) for name, it in others.items()}
    works = [_work(it, which, inputs) for it in bases.values()]
    works += [_work(it, which, inputs) for _, it in entrants.values()]
    seconds = take_turns(works, turns)
    counted = [True] * len(bases) + [name in names or others[name].counted for name in entrants]
    held = [
        most_held(it, torch.device("cpu")) if seen else None
        for it, seen in zip(works, counted, strict=True)
    ]
    of_base = {causal: (seconds[at], held[at]) for at, causal in enumerate(bases)}
    results = []
    for at, (name, (causal, _)) in enumerate(entrants.items(), start=len(bases)):
        time, memory = of_base[causal]
        results.append({
            "name": name, "tokens": tokens, "pass": which, "causal": causal,
            "seconds": seconds[at], "sdpa_seconds": time, "ratio": time / seconds[at],
            "held_bytes": held[at], "sdpa_held_bytes": memory, "load": os.getloadavg()[0],
        })  # fmt: skip
    return results


def ours(name: str, inputs: Sequence[Tensor]) -> tuple[bool, Entrant]:
    """Whether the mechanism is causal here, and a call of it."""
    mechanism: Mechanism = groups()["mechanism"][name](**SETTINGS.get(name, {}))
    shared = mechanism.key_value_heads(HEADS, None)
    weights = mechanism.weights(HeadShape(WIDTH, HEADS, shared, DIM))
    supports = mechanism.supports
    cross = not (supports.causal or supports.bidirectional)
    hidden = torch.randn(1, inputs[0].shape[2], WIDTH)
    scope = Scope(causal=supports.causal, cross=cross, hidden=hidden)
    queries, keys, values = inputs

    def call() -> Tensor:
        return mechanism.attend(queries, keys[:, :shared], values[:, :shared], scope, weights)

    return supports.causal, call


def _work(entrant: Entrant, which: str, inputs: Sequence[Tensor]) -> Callable[[], object]:
    if which == "both":
        return partial(differentiate, entrant, inputs)

    def forward() -> Tensor:
        with torch.no_grad():
            return entrant()

    return forward


def line(it: dict[str, Any]) -> str:
    """One result, to watch."""
    return (
        f"{it['name']:16} {it['tokens']:6} {it['pass']:8} {1e3 * it['seconds']:9.1f} ms "
        f"{it['ratio']:6.2f} x sdpa {mebibytes(it['held_bytes']):>8} MiB"
    )


def mebibytes(held: int | None) -> str:
    """In MiB, if it is known.

    >>> mebibytes(3 * 2**19), mebibytes(None)
    ('1.5', '-')
    """
    return "-" if held is None else f"{held / 2**20:.1f}"


def markdown(results: Sequence[dict[str, Any]], skipped: Sequence[dict[str, Any]]) -> str:
    """A table for each pass: times faster than torch's attention, crossover, memory."""
    texts = []
    for which in PASSES:
        mine = [it for it in results if it["pass"] == which]
        if not mine:
            continue
        lengths = sorted({it["tokens"] for it in mine})
        rows = []
        for name in dict.fromkeys(it["name"] for it in mine):
            by = {it["tokens"]: it for it in mine if it["name"] == name}
            longest = by[max(by)]
            rows.append([
                name, "causal" if longest["causal"] else "all",
                *(f"{by[it]['ratio']:.2f}" if it in by else "" for it in lengths),
                crossover([(it, by[it]["ratio"]) for it in sorted(by)]),
                f"{1e3 * longest['seconds']:.0f}", mebibytes(longest["held_bytes"]),
            ])  # fmt: skip
        head = ["mechanism", "sees", *map(str, lengths), "faster from", "ms", "MiB"]
        title = "Forward" if which == "forward" else "Forward and backward"
        text = f"{title}: times faster than SDPA by tokens; time and memory at the longest."
        texts.append(f"{text}\n\n{table(head, rows)}")
        left = [f"{it['name']} at {it['tokens']}" for it in skipped if it["pass"] == which]
        if left:
            texts.append(f"Left out, too slow: {', '.join(left)}.")
    return "\n\n".join(texts) + "\n"


def crossover(ratios: Sequence[tuple[int, float]]) -> str:
    """The measured length from which on it is faster.

    >>> crossover([(512, 0.5), (1024, 1.2), (2048, 2.0)]), crossover([(512, 0.5)])
    ('1024', '-')
    """
    found = "-"
    for tokens, ratio in reversed(ratios):
        if ratio < 1:
            break
        found = str(tokens)
    return found


if __name__ == "__main__":
    main()
