"""Runs with samples, on disk: what the report reads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from memollm import record, samples
from memollm.record import Measured, Memory, Result, RunRecord, Status


def needle(right: Sequence[bool], **more: Any) -> list[dict[str, Any]]:
    """Answers, each to a prompt of its own."""
    return [
        {
            "id": f"passkey/512/{i}",
            "prompt_hash": f"{i:016x}",
            "correct": it,
            "expected": "12345",
            "answer": "12345." if it else "no idea",
            **more,
        }
        for i, it in enumerate(right)
    ]


def windows(nll: Sequence[float]) -> list[dict[str, Any]]:
    return [{"id": f"0/{i}", "nll": 100 * it, "tokens": 100} for i, it in enumerate(nll)]


def save(
    folder: Path,
    mode: str,
    measured: dict[str, list[dict[str, Any]]],
    threshold: float = 0.1,
    seed: int = 0,
    **changes: Any,
) -> RunRecord:
    """Leave a finished run in ``folder``; cells of a seed have one baseline."""
    memory = None if mode == "baseline" else {"name_": "ebbinghaus"}
    own = f"baseline {seed}" if mode == "baseline" else f"{mode} {threshold} {seed}"
    results = {}
    for name, some in {} if "results" in changes else measured.items():
        if "nll" in some[0]:
            loss = sum(it["nll"] for it in some) / sum(it["tokens"] for it in some)
            metric = {"perplexity": Measured(math.exp(loss), "per token", False, len(some), 0.1)}
        else:
            share = sum(it["correct"] for it in some) / len(some)
            metric = {"accuracy": Measured(share, "share", True, len(some), 0.1)}
        results[name] = Result(1.0, metric)
    fields = dict(
        status=Status.finished,
        config={
            "model": {"name_": "reference"},
            "mode": {"name_": mode},
            "memory": memory,
            "evaluation": {name: {"name_": name, "seed": seed} for name in measured},
            "threshold": threshold,
            "seed": seed,
        },
        config_hash=own,
        provenance={"started": f"{folder}"},
        results=results,
        memory=Memory([50.0, 100.0], 100, 750.0, 1000.0),
        evaluation_hashes={name: f"{name} {own}" for name in measured},
        baseline_hashes={name: f"{name} baseline {seed}" for name in measured},
    )
    run = RunRecord(**{**fields, **changes})
    folder.mkdir(parents=True)
    record.save(run, folder)
    samples.rewrite(folder, measured)
    return run
