"""Training a model from scratch: text and things to look up, for a few hundred steps."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memollm.record import Result
from memollm.registry import name_of, register
from memollm.scratch.mechanisms import cycled
from memollm.scratch.mechanisms import require as require_mechanisms
from memollm.tasks.base import Curves, Task
from memollm.tasks.notebook import Notebook
from memollm.tasks.refuse import require, require_architecture, require_circuit, require_sources

if TYPE_CHECKING:
    from memollm.reference.config import TrainConfig


@register("task", "train")
@dataclass
class Train(Task):
    """Trains ``model=scratch``; the same command goes on with a training that was stopped.

    A training's weights are a function of its settings and the seed: stopped at any moment, it
    ends in the same ones.
    """

    output: str | None = None  # folder; null: <outputs>/trained/<its own name>
    # As reference.corpus.documents reads them: files, folders, archives, docstrings, datasets:...
    # The bundled text is what models are measured on, and no default.
    sources: list[str] = field(default_factory=lambda: ["docstrings"])
    shares: list[float] = field(default_factory=list)  # of the text, one a source; none: equal
    held_out: list[str] = field(default_factory=list)  # globs of documents never trained on
    steps: int = 400
    length: int = 512  # tokens of a sequence
    sequences: int = 4  # of a step
    needle: float = 0.3  # shares of the sequences; the remainder is text
    dense: float = 0.2
    copy: float = 0.1
    learning_rate: float = 2e-3
    # Of it, for the circuit's layers, with model.circuit=true. Less keeps the circuit through
    # thousands of steps; a short training with a long warm-up refines it at the whole rate.
    circuit_rate: float = 1.0
    warmup: int = 40  # steps
    decay: float = 0.3  # last share of the steps, over which the rate falls to zero
    weight_decay: float = 0.1
    answer_weight: float = 2.0  # loss weight of a token that retrieval predicts
    bfloat16: bool = False  # autocast
    checkpoint_every: int = 50  # steps
    log_every: int = 10  # steps
    threads: int = 1

    def prepare(self, config: Any) -> None:
        model = config.model
        if name_of(model) != "scratch":
            raise ValueError(
                f"model={name_of(model)} is not allowed with task=train: model=scratch"
            )
        if model.name:
            raise ValueError(
                f"model.name={model.name} is not allowed with task=train, which makes a new model"
            )
        require_mechanisms(model.attention, model.mechanisms, model.heads, model.kv_heads)
        cycled(model.attention, model.layers)
        for key in ("steps", "length", "sequences", "checkpoint_every", "log_every", "threads"):
            require(f"task.{key}", getattr(self, key), getattr(self, key) >= 1, ">= 1")
        require_architecture("model", model)
        longest = model.max_positions
        require(
            "task.length", self.length, self.length <= longest, f"<= model.max_positions={longest}"
        )
        shares = [self.needle, self.dense, self.copy]
        fits = min(shares) >= 0 and sum(shares) <= 1
        require("task.needle, task.dense, task.copy", shares, fits, ">= 0, and at most 1 together")
        require("task.circuit_rate", self.circuit_rate, self.circuit_rate >= 0, ">= 0")
        if model.circuit:
            require_circuit("model", model, "model.circuit=true")
        require_sources(self.sources, self.shares)

    def perform(self, config: Any, folder: Path, curves: Curves) -> Mapping[str, Result]:
        from memollm.scratch.training import Attention, named, train_scratch

        model = config.model
        attention = Attention(cycled(model.attention, model.layers), model.mechanisms)
        plan = self._plan(config)
        if self.output is None:
            name = named(plan, attention)[:12]
            plan.output = str(Path(config.outputs, "trained", name))
        notebook, began = Notebook(curves), time.monotonic()
        made = train_scratch(plan, attention, notebook)
        print(
            f"Trained {made}\nMeasure it: python run.py model=scratch model.name={made}", flush=True
        )
        return {"training": notebook.result(time.monotonic() - began, self.length * self.sequences)}

    def _plan(self, config: Any) -> TrainConfig:
        from memollm.reference.config import Architecture, Stage, TrainConfig

        it = config.model
        architecture = Architecture(
            it.vocabulary, it.hidden, it.layers, it.heads, it.kv_heads, it.head_dim,
            it.feed_forward, it.max_positions, it.rope_theta,
        )  # fmt: skip
        stage = Stage(
            self.steps, self.length, self.sequences, self.needle, self.dense, copy=self.copy
        )
        return TrainConfig(
            output=self.output or "",
            sources=self.sources,
            shares=self.shares,
            held_out=self.held_out,
            architecture=architecture,
            stages=[stage],
            finish=[],
            longer=[],
            grown=[],
            far=[],
            questions=[],
            polish=[],
            named=[],
            seed=config.seed,
            learning_rate=self.learning_rate,
            warmup=self.warmup,
            decay=self.decay,
            weight_decay=self.weight_decay,
            answer_weight=self.answer_weight,
            jump_share=0.0,  # mechanisms with blocks count tokens, not positions
            circuit=it.circuit,
            circuit_rate=self.circuit_rate,
            checkpoint_every=self.checkpoint_every,
            log_every=self.log_every,
            bfloat16=self.bfloat16,
            threads=self.threads,
        )
