"""A sweep on disk, as large as is asked for: what the whole report is made of.

How good a cell is follows from its settings by a rule, so that the report's words can be checked:
only ``sparse_attention`` loses needles, deep ones first, by a threshold above 0.1.
"""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from memollm import record, samples
from memollm.record import Measured, Memory, Result, RunRecord, Status

PROVENANCE = {
    "commit": "0123456789abcdef",
    "dirty": False,
    "versions": {"python": "3.11.7", "torch": "2.13.0"},
    "device": "cpu",
    "cpu": "A processor",
    "gpus": [],
    "threads": 1,
    "source": "fedcba9876543210",
    "seed": 0,
    "command": "run.py -m mode=baseline,sparse_attention",
}

AGES = {0: "0_64", 256: "256_512", 512: "512_1024", 1024: "1024_2048"}


def sweep(
    root: Path,
    modes: Sequence[str] = ("soft_delete", "sparse_attention"),
    thresholds: Sequence[Any] = (0.01, 0.1, 0.3),
    strengths: Sequence[float] = (0.5, 5.0),
    needles: int = 8,
) -> list[Path]:
    """Leave the untouched model's run and one for each combination; give their folders."""
    folders = [cell(root / "0", "baseline", 0.01, 5.0, needles)]
    for index, settings in enumerate(itertools.product(modes, thresholds, strengths), start=1):
        folders.append(cell(root / str(index), *settings, needles))
    return folders


def cell(
    folder: Path, mode: str, threshold: Any, strength: float, needles: int = 8, **changes: Any
) -> Path:
    """Leave one finished run in ``folder``."""
    forgets = mode == "sparse_attention"
    strictness = float(threshold) if isinstance(threshold, float) else 0.01
    gone = min(strictness / strength, 0.9) if forgets else 0.0
    measured = {"perplexity": _windows(gone), "needle": _answers(gone, needles)}
    own = "untouched" if mode == "baseline" else f"{mode} {threshold} {strength}"
    right = [it["correct"] for it in measured["needle"]]
    loss = sum(it["nll"] for it in measured["perplexity"]) / sum(
        it["tokens"] for it in measured["perplexity"]
    )
    share = sum(right) / len(right)
    fields: dict[str, Any] = dict(
        status=Status.finished,
        config={
            "model": {"name_": "reference"},
            "mode": {"name_": mode},
            "retention": {"name_": "exponential"},
            "memory": None
            if mode == "baseline"
            else {
                "name_": "ebbinghaus",
                "retention": {"name_": "exponential"},
                "time_step": 0.01,
                "sinks": 4,
            },
            "evaluation": {name: {"name_": name} for name in (*measured, "speed")},
            "threshold": threshold,
            "memory_strength": strength,
            "layer_fraction": 0.5,
            "seed": 0,
        },
        config_hash=own,
        provenance={**PROVENANCE, "started": f"2026-01-01T00:00:{folder.name.zfill(6)}"},
        seconds=1.0,
        results={
            "perplexity": Result(
                1.0, {"perplexity": Measured(math.exp(loss), "per token", False, 4, 1.0)}
            ),
            "needle": Result(1.0, {"accuracy": Measured(share, "share", True, len(right), 0.05)}),
            "speed": Result(
                1.0,
                {
                    "decode_ratio_to_baseline": Measured(
                        1.0 if mode == "baseline" else 0.9 + gone / 2, "times", True, 9, 0.01
                    ),
                    "aa_noise": Measured(0.05, "times", False, 9),
                },
            ),
        },
        memory=Memory([100 * (1 - gone), 100.0], 100, 1000 - 500 * gone, 1000.0),
        evaluation_hashes={name: f"{name} {own}" for name in (*measured, "speed")},
        baseline_hashes={name: f"{name} untouched" for name in (*measured, "speed")},
    )
    folder.mkdir(parents=True)
    record.save(RunRecord(**{**fields, **changes}), folder)
    samples.rewrite(folder, measured)
    return folder


def broken(folder: Path) -> Path:
    """Cut the record in ``folder`` off, as a full disk would."""
    path = folder / record.FILE
    path.write_text(path.read_text(encoding="utf-8")[:300], encoding="utf-8")
    return folder


def changed(folder: Path, **provenance: Any) -> Path:
    """Have the run in ``folder`` come from elsewhere."""
    return edited(folder, lambda plain: plain["provenance"].update(provenance))


def edited(folder: Path, edit: Callable[[dict[str, Any]], object]) -> Path:
    """Change the record in ``folder``, as plain data."""
    path = folder / record.FILE
    plain = json.loads(path.read_text(encoding="utf-8"))
    edit(plain)
    path.write_text(json.dumps(plain), encoding="utf-8")
    return folder


def _answers(gone: float, count: int) -> list[dict[str, Any]]:
    """The deeper a needle stands and the longer the text, the sooner it is lost."""
    answers = []
    for length, depth, copy in itertools.product((512, 1024), (0.0, 0.5, 1.0), range(count)):
        name = f"passkey/{length}/{copy}/{depth}"
        luck = random.Random(name).random()
        correct = luck >= gone * (1 - depth) * (length / 512)
        answers.append(
            {
                "id": name,
                "prompt": name,
                "prompt_hash": f"{length}/{copy}/{depth}",
                "asking": "streamed",
                "length": length,
                "depth": depth,
                "age_bucket": AGES[round(length * (1 - depth))],
                "correct": correct,
                "expected": "12345",
                "answer": "12345" if correct else "none",
                "text": "97eb356657e47efb",
            }
        )
    return answers


def _windows(gone: float) -> list[dict[str, Any]]:
    windows = []
    for index in range(8):
        early, late = 3.9 + 0.1 * index, 3.5 + 0.1 * index + gone
        windows.append(
            {
                "id": f"0:{index}",
                "prompt_hash": f"{index:x}",
                "tokens": 50,
                "nll": 20 * early + 30 * late,
                "position": {"0_64": [20, 20 * early], "64_128": [30, 30 * late]},
                "distance": {"0_64": [25, 25 * early], "none": [25, 25 * late]},
                "text": "97eb356657e47efb",
            }
        )
    return windows
