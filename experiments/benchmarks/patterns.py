"""Sparse patterns on a model: reading a long prompt and decoding after it, against dense attention.

    OMP_NUM_THREADS=1 python -m experiments.benchmarks.patterns --out experiments/010_mechanisms

A Qwen2 of random weights (4 layers of width 256, 8 query heads and 2 key-value heads of 64), every
layer under the pattern, against the same model as it is; one thread, its processor time, entrants
taking turns, the median counts. ``full`` lets all through: what the harness itself costs. Before
anything is timed, ``full`` is compared with the model as it is, and each pattern's decoded logits
with those of one forward pass. Writes ``patterns.json`` and ``patterns.md``; what these hold from
earlier calls stays, unless it is measured again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache

from experiments.benchmarks.kept import earlier, merged
from experiments.benchmarks.models import random_prompt
from experiments.benchmarks.table import table
from memollm.attention.patterns.base import Pattern
from memollm.hf.attachment import attach
from memollm.hf.models import RandomModel
from memollm.memory.ebbinghaus import Memory
from memollm.modes.pattern import PatternMode
from memollm.registry import groups, import_parts

SETTINGS = {
    "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 4,
    "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 512,
    "max_position_embeddings": 65536, "tie_word_embeddings": True,
}  # fmt: skip
DENSE = "dense"  # the model as it is
STEPS = 16  # tokens that are decoded
COMPARED = 600  # tokens
CLOSE = 1e-3  # float32, of logits of size about 10
WARM = 512  # tokens of a prompt that does not count


def main() -> None:
    """Compare, measure, write."""
    import_parts("attention.patterns")
    known = {name: part for name, part in groups()["pattern"].items() if name != "none"}
    parser = argparse.ArgumentParser(description="Sparse patterns against dense attention")
    parser.add_argument("--only", nargs="+", choices=sorted(known), default=sorted(known))
    parser.add_argument("--lengths", nargs="+", type=int, default=[8192, 16384], help="tokens")
    parser.add_argument("--turns", type=int, default=2, help="of each entrant; the median counts")
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmarks"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    given = {"model_type": "qwen2", "settings": SETTINGS, "dtype": "float32", "device": "cpu"}
    model = RandomModel(**given).load().model
    entrants = {DENSE: None} | {name: known[name]() for name in asked.only}
    require_agreement(model, entrants)
    print(f"{len(asked.only)} patterns decode what one forward pass gives", flush=True)
    path = asked.out / "patterns.json"
    results = earlier(path)
    for tokens in asked.lengths:
        found = measured(model, entrants, tokens, asked.turns)
        results = merged(results, found, ("tokens", "name"))
        for it in found:
            print(" ".join(row(it)), flush=True)
    asked.out.mkdir(parents=True, exist_ok=True)
    machine = {
        "torch": torch.__version__, "machine": platform.machine(), "threads": 1,
        "model": SETTINGS, "steps": STEPS,
        "patterns": {name: repr(it) for name, it in entrants.items()},
    }  # fmt: skip
    record = {"machine": machine, "results": results}
    path.write_text(json.dumps(record, indent=1), encoding="utf-8")
    (asked.out / "patterns.md").write_text(markdown(results), encoding="utf-8")
    print(f"\n{markdown(results)}\n{path}")


@torch.no_grad()
def require_agreement(model: PreTrainedModel, entrants: dict[str, Pattern | None]) -> None:
    """Raise unless a text in two parts gives what it gives at once, and ``full`` is dense."""
    ids = random_prompt(model, 1, COMPARED)
    dense = model(ids).logits[:, -1]
    for name, pattern in entrants.items():
        found = []
        for parts in ([COMPARED], [COMPARED - 1, 1]):
            with attached(model, pattern) as attachment:
                cache = _cache(model, attachment)
                for part in ids.split(parts, dim=1):
                    logits = model(part, past_key_values=cache).logits[:, -1]
            found.append(logits)
        torch.testing.assert_close(*found, rtol=0, atol=CLOSE, msg=lambda it, n=name: f"{n}: {it}")
        if name in (DENSE, "full"):
            torch.testing.assert_close(found[0], dense, rtol=0, atol=CLOSE)


def measured(
    model: PreTrainedModel, entrants: dict[str, Pattern | None], tokens: int, turns: int
) -> list[dict[str, Any]]:
    """Seconds of a prompt and of a decoded token, for each entrant."""
    ids = random_prompt(model, 1, tokens)
    turned: dict[str, list[tuple[float, float]]] = {name: [] for name in entrants}
    for pattern in entrants.values():
        run(model, pattern, ids[:, :WARM])
    for _ in range(turns):
        for name, pattern in entrants.items():
            turned[name].append(run(model, pattern, ids))
    prefill, decode = (
        {name: statistics.median(it[part] for it in spent) for name, spent in turned.items()}
        for part in (0, 1)
    )
    return [
        {
            "name": name, "tokens": tokens,
            "prefill_seconds": prefill[name], "prefill_ratio": prefill[DENSE] / prefill[name],
            "decode_seconds": decode[name], "decode_ratio": decode[DENSE] / decode[name],
            "load": os.getloadavg()[0],
        }
        for name in entrants
    ]  # fmt: skip


@torch.no_grad()
def run(model: PreTrainedModel, pattern: Pattern | None, ids: Tensor) -> tuple[float, float]:
    """Seconds of reading a prompt, and of a token after it (the median)."""
    with attached(model, pattern) as attachment:
        cache = _cache(model, attachment)
        start = time.thread_time()
        model(ids, past_key_values=cache, logits_to_keep=1)
        prefill, steps = time.thread_time() - start, []
        for _ in range(STEPS):
            start = time.thread_time()
            model(ids[:, -1:], past_key_values=cache)
            steps.append(time.thread_time() - start)
    return prefill, statistics.median(steps)


def attached(model: PreTrainedModel, pattern: Pattern | None) -> Any:
    """Every layer under the pattern; None: the model as it is."""
    if pattern is None:
        return nullcontext()
    return attach(model, Memory(layer_fraction=1.0, pattern=pattern), PatternMode())


def _cache(model: PreTrainedModel, attachment: Any) -> Cache:
    return DynamicCache(config=model.config) if attachment is None else attachment.new_cache()


def row(it: dict[str, Any]) -> list[str]:
    """A result, as the cells of a table."""
    return [
        it["name"], str(it["tokens"]), f"{it['prefill_seconds']:.2f}", f"{it['prefill_ratio']:.2f}",
        f"{1e3 * it['decode_seconds']:.2f}", f"{it['decode_ratio']:.2f}",
    ]  # fmt: skip


def markdown(results: Sequence[dict[str, Any]]) -> str:
    """All results as a table."""
    head = ["pattern", "tokens", "prefill s", "times faster", "decode ms", "times faster"]
    text = "A model's prompt and the next token under a pattern, against the model as it is."
    return f"{text}\n\n{table(head, [row(it) for it in results])}\n"


if __name__ == "__main__":
    main()
