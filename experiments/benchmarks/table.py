"""Results as tables: against each baseline, target by target, byte by byte."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.benchmarks.decode import ratios
from experiments.benchmarks.entrants import (
    AGAIN,
    ALL,
    DEFAULT,
    HALF,
    SHARES,
    STATIC,
    memory_name,
    pruned,
)  # fmt: skip
from memollm.memory.kernel import Kernel

Result = Mapping[str, Any]
SHORT = 64  # tokens, whose cache costs next to nothing
FULL, LEAST = memory_name(1.0, ALL), memory_name(0.1, ALL)
FULL_TORCH, LEAST_TORCH = (memory_name(it, ALL, Kernel.torch) for it in (1.0, 0.1))


def markdown(results: Sequence[Result]) -> str:
    """All tables that ``results`` have data for."""
    decodes = _sorted(results, "decode")
    parts = [
        _decode(decodes), _attribution(decodes), _bytes(decodes), _break_even(decodes),
        _prefill(_sorted(results, "prefill")), _generate(_sorted(results, "generate")),
        _long(_sorted(results, "long")), _profile(_sorted(results, "profile")),
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table.

    >>> print(table(["a", "b"], [["1", "2"]]))
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    lines = [head, ["---"] * len(head), *rows]
    first, rule, *rest = ("|".join(["", *(f" {it} " for it in line), ""]) for line in lines)
    return "\n".join([first, rule.replace(" ", ""), *rest])


def _sorted(results: Sequence[Result], kind: str) -> list[Result]:
    chosen = [it for it in results if it["kind"] == kind and "skipped" not in it]
    return sorted(chosen, key=lambda it: (it["dtype"], it["batch"], it["context"]))


def _label(result: Result) -> list[str]:
    return [result["dtype"], str(result["batch"]), str(result["context"])]


def _milliseconds(seconds: Sequence[float]) -> str:
    return f"{1000 * statistics.median(seconds):.1f}"


def _decode(results: Sequence[Result]) -> str:
    if not results:
        return ""
    memories = [memory_name(share, layers) for layers in (ALL, HALF) for share in SHARES]
    others = [(LEAST, STATIC), *((memory_name(it, ALL), pruned(it)) for it in SHARES[1:])]
    head = ["dtype", "batch", "context", "default ms", "ceiling", "A/A", "static"]
    head += [it.replace("_", " ") for it in memories]
    head += [f"{it.replace('_', ' ')} vs {to.replace('_', ' ')}" for it, to in others]
    rows = []
    for result in results:
        seconds = result["seconds"]
        pairs = [(AGAIN, DEFAULT), (STATIC, DEFAULT), *((it, DEFAULT) for it in memories), *others]
        rows.append([
            *_label(result), _milliseconds(seconds[DEFAULT]), _ceiling(result, results),
            *(f"{ratios(seconds, *pair):.2f}" for pair in pairs),
        ])  # fmt: skip
    text = (
        "Decode: times faster than HF's default cache, and than other baselines where named. "
        "Ceiling: what a cache that costs nothing would give, from the default's step at the "
        "shortest context."
    )
    return f"{text}\n\n{table(head, rows)}"


def _ceiling(result: Result, results: Sequence[Result]) -> str:
    """How much faster the step would be without its cache; only known beside a short context."""
    alike = [
        it for it in results if (it["dtype"], it["batch"]) == (result["dtype"], result["batch"])
    ]
    first = min(alike, key=lambda it: it["context"])
    if first["context"] > SHORT:
        return "-"
    now, least = (statistics.median(it["seconds"][DEFAULT]) for it in (result, first))
    return f"{now / least:.2f}"


def _attribution(results: Sequence[Result]) -> str:
    if not results:
        return ""
    rows = []
    for result in results:
        seconds = result["seconds"]
        pairs = [(FULL_TORCH, DEFAULT), (FULL, FULL_TORCH), (LEAST, FULL), (LEAST, LEAST_TORCH)]
        factors = [ratios(seconds, *it) for it in pairs]
        factors.insert(3, math.prod(factors[:3]))
        rows.append([*_label(result), *(f"{it:.2f}" for it in factors)])
    head = [
        "dtype", "batch", "context", "store", "compiled kernel", "eviction of 90 %", "together",
        "compiled kernel, 90 % evicted",
    ]  # fmt: skip
    return "What a gain over the default is made of (factors).\n\n" + table(head, rows)


def _bytes(results: Sequence[Result]) -> str:
    if not results:
        return ""
    rows = []
    for result in results:
        row = _label(result)
        for name in (DEFAULT, STATIC, FULL, LEAST):
            kv, peak = result["kv_bytes"][name], result["step_peak_bytes"][name]
            needed = result["weight_bytes"] + kv
            share = needed / statistics.median(result["seconds"][name]) / result["bandwidth"]
            held = "-" if peak is None else f"{peak / 2**20:.0f}"
            row.append(f"{needed / 1e6:.0f} / {kv / 2**20:.0f} / {held} / {share:.0%}")
        rows.append([*row, f"{result['bandwidth'] / 1e9:.1f}"])
    head = ["dtype", "batch", "context", *(it.replace("_", " ") for it in
            (DEFAULT, STATIC, FULL, LEAST)), "GB/s"]  # fmt: skip
    text = (
        "Bytes a step reads (weights and cache, MB) / cache (MiB) / most held during a step beyond "
        "that (MiB) / share of the machine's measured bandwidth."
    )
    return f"{text}\n\n{table(head, rows)}"


def _break_even(results: Sequence[Result]) -> str:
    rows = []
    for dtype in dict.fromkeys(it["dtype"] for it in results):
        mine = [it for it in results if it["dtype"] == dtype and it["batch"] == 1]
        for name in [memory_name(share, layers) for layers in (ALL, HALF) for share in SHARES]:
            gains = [(it["context"], ratios(it["seconds"], name, DEFAULT)) for it in mine]
            rows.append([dtype, name.replace("_", " "), _first_gain(gains)])
    if not rows:
        return ""
    head = ["dtype", "memory", "tokens"]
    return "Break-even: the measured context from which on decoding is not slower.\n\n" + table(
        head, rows
    )


def _first_gain(gains: Sequence[tuple[int, float]]) -> str:
    """The smallest context from which on every gain is 1 or more.

    >>> _first_gain([(64, 0.99), (512, 1.0), (2048, 1.1)]), _first_gain([(64, 0.9)])
    ('512', 'none measured')
    """
    found = "none measured"
    for context, gain in reversed(gains):
        if gain < 1:
            break
        found = str(context)
    return found


def _prefill(results: Sequence[Result]) -> str:
    if not results:
        return ""
    names = list(results[0]["seconds"])
    rows = []
    for result in results:
        seconds = result["seconds"]
        times = [f"{1 / ratios(seconds, it, 'plain'):.3f}" for it in names[1:]]
        rows.append([*_label(result), _milliseconds(seconds["plain"]), *times])
    head = ["dtype", "batch", "context", "plain ms", *names[1:]]
    text = "Prefill: time in units of the plain prefill's (less is better)."
    return f"{text}\n\n{table(head, rows)}"


def _generate(results: Sequence[Result]) -> str:
    if not results:
        return ""
    rows = []
    for result in results:
        plain = result["seconds"][DEFAULT][0]
        for name, (seconds,) in result["seconds"].items():
            kept = result["kept_tokens"].get(name)
            held = f"{statistics.fmean(kept):.0f}" if kept else str(result["context"])
            row = [name.replace("_", " "), f"{seconds:.1f}", f"{plain / seconds:.2f}", held]
            rows.append([*_label(result), *row])
    head = ["dtype", "batch", "prompt", "", "s", "times faster", "kept tokens a memory layer"]
    text = f"generate(): a prompt, then {results[0]['new_tokens']} tokens, end to end."
    return f"{text}\n\n{table(head, rows)}"


def _long(results: Sequence[Result]) -> str:
    if not results:
        return ""
    rows = []
    for result in results:
        for name, bins in result["bins"].items():
            for at in sorted(
                {1, len(bins) // 4, len(bins) // 2, len(bins) - 1} & {*range(len(bins))}
            ):
                it = bins[at]
                held = "-" if it["kv_bytes"] is None else f"{it['kv_bytes'] / 2**10:.0f}"
                rows.append([name, str(it["tokens"]), f"{1e3 * it['seconds_per_token']:.2f}", held])
    text = f"A long generation, {results[0]['budget']} tokens kept in every layer."
    return f"{text}\n\n" + table(["", "tokens", "ms a token", "KiB cached"], rows)


def _profile(results: Sequence[Result]) -> str:
    if not results:
        return ""
    rows = []
    for result in results:
        entrants = result["parts"]
        totals = {name: sum(parts.values()) for name, parts in entrants.items()}
        first = next(iter(entrants.values()))
        for part in sorted(first, key=lambda it: -first[it]):
            cells = [
                f"{1e3 * parts[part]:.1f} ({parts[part] / totals[name]:.0%})"
                for name, parts in entrants.items()
            ]
            rows.append([*_label(result), part, *cells])
    names = [it.replace("_", " ") for it in results[0]["parts"]]
    text = "Where a decoded token's time goes: milliseconds (share of the step)."
    return f"{text}\n\n" + table(["dtype", "batch", "context", "part", *names], rows)
