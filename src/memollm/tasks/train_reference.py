"""Training the bundled reference model anew: its whole recipe, any part of it overridden."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from memollm.record import Result
from memollm.reference.config import Stage, TrainConfig
from memollm.reference.marker import claim, fingerprint
from memollm.registry import register
from memollm.tasks.base import Curves, Task
from memollm.tasks.notebook import Notebook
from memollm.tasks.refuse import (
    require,
    require_architecture,
    require_beginning,
    require_circuit,
    require_growth,
    require_shares,
    require_sources,
)

LENGTHS = {"steps", "length", "sequences"}  # of a stage; its other fields are shares


@register("task", "train_reference")
@dataclass
class TrainReference(TrainConfig, Task):
    """Trains the reference model; the same command goes on with a training that was stopped.

    The cell's model is not read: the recipe begins with an untrained one, or with the weights of
    ``from_model`` where the phase ``from_phase`` begins (no optimizer's state comes with them).
    The model lies in ``output/model``; without an ``output`` in
    ``<outputs>/trained/<its own name>``.
    """

    def prepare(self, config: Any) -> None:
        require_sources(self.sources, self.shares)
        for key in ("checkpoint_every", "log_every", "processes", "threads", "warmup"):
            require(f"task.{key}", getattr(self, key), getattr(self, key) >= 1, ">= 1")
        require("task.scale", self.scale, self.scale > 0, "> 0")
        require("task.circuit_rate", self.circuit_rate, self.circuit_rate >= 0, ">= 0")
        require("task.decay", self.decay, 0 <= self.decay <= 1, "from 0 to 1")
        require_architecture("task.architecture", self.architecture)
        if self.circuit:
            require_circuit("task.architecture", self.architecture, "task.circuit=true")
        if self.grown:
            require_growth(self)
            require_shares("task.grown_shares", self.grown_shares, self.sources)
        require("task.stages", self.stages, bool(self.stages), "one stage or more")
        for phase in self.phases:
            for number, stage in enumerate(phase.stages):
                self._require(f"task.{phase.name}[{number}]", stage)
        if self.from_model or self.from_phase:
            require_beginning(self)

    def _require(self, key: str, stage: Stage) -> None:
        longest = self.architecture.max_positions
        for name in ("steps", "length", "sequences"):
            require(f"{key}.{name}", getattr(stage, name), getattr(stage, name) >= 1, ">= 1")
        require(f"{key}.length", stage.length, stage.length <= longest,
                f"<= task.architecture.max_positions={longest}")  # fmt: skip
        even = stage.sequences % self.processes == 0
        require(f"{key}.sequences", stage.sequences, even,
                f"a multiple of task.processes={self.processes}")  # fmt: skip
        shares = {it.name: getattr(stage, it.name) for it in fields(stage)}
        shares = {name: share for name, share in shares.items() if name not in LENGTHS}
        fits = min(shares.values()) >= 0 and sum(shares.values()) <= 1
        require(f"{key}: {', '.join(shares)}", list(shares.values()), fits,
                ">= 0, and at most 1 together")  # fmt: skip

    def perform(self, config: Any, folder: Path, curves: Curves) -> Mapping[str, Result]:
        from memollm.reference.train import train

        name = fingerprint(self)
        output = self.output or str(Path(config.outputs, "trained", name[:12]))
        claim(Path(output), name)
        notebook, began = Notebook(curves), time.monotonic()
        made = train(replace(self, output=output), notebook)
        print(f"Trained {made}\nMeasure it: python run.py model=hf model.name={made}", flush=True)
        return {"training": notebook.result(time.monotonic() - began)}
