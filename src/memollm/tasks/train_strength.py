"""Training strength gates: what ``strength=learned`` reads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from memollm.gating.config import GateTraining
from memollm.record import Measured, Result
from memollm.registry import describe, register
from memollm.tasks.base import Curves, Task
from memollm.tasks.refuse import require_sources

AIMLESS = {"output", "stop_after", "checkpoint_every", "log_every"}  # decide no weight


@register("task", "train_strength")
@dataclass
class TrainStrength(GateTraining, Task):
    """Trains gates for the model of the cell; the same command goes on where it was stopped.

    The gates, their card and the checkpoint lie in ``output``; ``null``: in
    ``<outputs>/gates/<hash of all that decides them>``.
    """

    output: str | None = None

    def prepare(self, config: Any) -> None:
        require_sources(self.sources)
        config.model.prepare()
        limit = config.model.context_length()
        if limit is not None and max(self.lengths) > limit:
            raise ValueError(
                f"task.lengths={list(self.lengths)} is not allowed, the model's context has {limit}"
            )

    def perform(self, config: Any, folder: Path, curves: Curves) -> Mapping[str, Result]:
        from memollm.gating.train import train  # imports transformers

        loaded = config.model.load()
        trained = train(
            self, loaded.model, loaded.tokenizer.backend_tokenizer, loaded.name,
            self._output(config), curves,
        )  # fmt: skip
        print(f"Gates after {trained.steps} of {self.steps} steps: {trained.path}")
        metrics = {name: Measured(it, "", None, 1) for name, it in trained.last.items()}
        return {"strength": Result(trained.seconds, metrics)}

    def _output(self, config: Any) -> Path:
        if self.output:
            return Path(self.output).expanduser()
        decisive = {
            it.name: describe(getattr(self, it.name))
            for it in fields(self)
            if it.name not in AIMLESS
        }
        told = [decisive, describe(config.model), config.model.fingerprint()]
        name = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]
        return Path(config.outputs) / "gates" / name
