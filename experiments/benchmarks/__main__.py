"""The speed benchmark: one command for the whole table.

    OMP_NUM_THREADS=1 python -m experiments.benchmarks                      # what the targets need
    OMP_NUM_THREADS=1 python -m experiments.benchmarks --grid full
    python -m experiments.benchmarks --only decode/bfloat16 --contexts 512 8192
    python -m experiments.benchmarks --out experiments/002_speed --tables   # from what is there

One thread, its processor time, entrants of a cell taking turns in random order in one process.
Results are appended to ``results.jsonl`` cell by cell; a cell that is there is not measured again.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import torch
from transformers import PreTrainedModel

from experiments.benchmarks import models
from experiments.benchmarks.cells import Cell, Kind, grid
from experiments.benchmarks.decode import decode
from experiments.benchmarks.plot import draw
from experiments.benchmarks.prefill import prefill
from experiments.benchmarks.profile import profile
from experiments.benchmarks.table import markdown
from experiments.benchmarks.trace import after_prompt, long_generation
from memollm import provenance
from memollm.evaluation.bandwidth import ReadBenchmark
from memollm.evaluation.clock import Clock, Reading, quiet, reading

CPU = torch.device("cpu")
PREFILL_LAYERS = 4  # of the architecture: time is the same in each, and the rest is a few percent
CACHES = 9.6  # caches of the whole context that the entrants of a decode cell hold, growth included


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the cells that are missing, then write the tables and the picture."""
    asked = _parse(arguments)
    asked.out.mkdir(parents=True, exist_ok=True)
    file = asked.out / "results.jsonl"
    done = _load(file)
    if not asked.tables:
        missing = [cell for cell in _chosen(asked) if cell.id not in {it["id"] for it in done}]
        Bench(asked.model).run(missing, file)
    results = _load(file)
    (asked.out / "table.md").write_text(markdown(results))
    draw(results, asked.out / "speed.png")
    print(markdown(results))


class Bench:
    """The models, each loaded once for all of its cells, and the clock."""

    def __init__(self, architecture: str) -> None:
        self.architecture = architecture
        self._model: tuple[tuple, PreTrainedModel] | None = None

    def run(self, cells: Sequence[Cell], file: Path) -> None:
        """Measure ``cells`` and append what was found to ``file``, one line each."""
        with quiet(1) as threads, torch.no_grad():
            now = reading(Clock.auto, CPU, threads)
            bandwidth = ReadBenchmark(CPU)
            for number, cell in enumerate(cells, 1):
                began = time.perf_counter()
                load = psutil.getloadavg()[0]
                found = self._measure(cell, now, bandwidth)
                gc.collect()
                seconds = time.perf_counter() - began
                line = {
                    "id": cell.id, "kind": cell.kind, "context": cell.context, "batch": cell.batch,
                    "dtype": cell.dtype, "model": self.architecture, "load_average": load,
                    "wall_seconds": seconds, "source": provenance.source(), **found,
                }  # fmt: skip
                with file.open("a") as lines:
                    lines.write(json.dumps(line) + "\n")
                print(f"{number}/{len(cells)} {cell.id}: {seconds:.0f} s", flush=True)

    def _measure(self, cell: Cell, now: Reading, bandwidth: ReadBenchmark) -> dict:
        if cell.kind is Kind.long:
            return long_generation(models.small(cell.dtype), cell, now)
        if cell.kind is Kind.prefill:
            return prefill(self._load(cell.dtype, PREFILL_LAYERS), cell, now)
        model = self._load(cell.dtype, None)
        if cell.kind is Kind.generate:
            return after_prompt(model, cell, now)
        if cell.kind is Kind.profile:
            return profile(model, cell, now)
        needed = CACHES * _cache_bytes(model, cell)
        free = psutil.virtual_memory().available
        if needed > free:
            return {"skipped": f"needs {needed / 2**30:.0f} GiB, {free / 2**30:.0f} are free"}
        return decode(model, cell, now, bandwidth)

    def _load(self, dtype: str, layers: int | None) -> PreTrainedModel:
        if self._model is None or self._model[0] != (dtype, layers):
            self._model = None
            gc.collect()
            loaded = models.architecture(self.architecture, dtype, layers)
            self._model = (dtype, layers), loaded
        return self._model[1]


def _cache_bytes(model: PreTrainedModel, cell: Cell) -> int:
    config = model.config.get_text_config(decoder=True)
    dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    numbers = 2 * config.num_hidden_layers * config.num_key_value_heads * dim
    return numbers * cell.context * cell.batch * model.dtype.itemsize


def _chosen(asked: argparse.Namespace) -> list[Cell]:
    return [
        cell
        for cell in grid(asked.grid)
        if asked.only in cell.id and (not asked.contexts or cell.context in asked.contexts)
    ]


def _load(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m experiments.benchmarks")
    parser.add_argument("--grid", choices=("quick", "full"), default="quick")
    parser.add_argument("--only", default="", help="cells whose id contains this")
    parser.add_argument("--contexts", type=int, nargs="*", help="cells of these contexts")
    parser.add_argument("--model", default="random_qwen2_5_0_5b", help="of conf/model, random")
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmarks"))
    parser.add_argument("--tables", action="store_true", help="measure nothing")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
