"""Train the reference model, or another by its recipe (``python run.py task=train_reference``).

The same call resumes a training that was stopped, and gives the weights it would have given.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from rich.progress import Progress, TextColumn, TimeElapsedColumn
from torch import Tensor, nn
from transformers import Qwen2ForCausalLM

from memollm.reference import checkpoint
from memollm.reference.batches import begins_at, draw_batch, grown_at, steps_of
from memollm.reference.blocked import use_blocks
from memollm.reference.config import TrainConfig
from memollm.reference.grow import widen
from memollm.reference.initialise import PASSED_THROUGH
from memollm.reference.library import Library
from memollm.reference.links import follow_links
from memollm.reference.model import build_model
from memollm.reference.origins import name_values
from memollm.reference.parallel import Team, team
from memollm.reference.prepare import prepare
from memollm.reference.step import build_optimizer, train_step
from memollm.reference.tokenizer import save_tokenizer

COLUMNS = (
    *Progress.get_default_columns(),
    TimeElapsedColumn(),
    TextColumn("{task.fields[losses]}"),
)


Builder = Callable[[TrainConfig, Library], Qwen2ForCausalLM]


@runtime_checkable
class Tracker(Protocol):
    """Anything that records numbers by step; the project's trackers do."""

    def log(self, metrics: dict[str, float], *, step: int) -> None: ...


def train(
    config: TrainConfig, tracker: Tracker | None = None, build: Builder | None = None
) -> Path:
    """Train to the last step and return the folder of the finished model.

    ``build`` makes the fresh model, of text that was prepared; default the reference model.
    """
    build = build or build_reference
    output = Path(config.output)
    prepare(config, output / "text")
    beside = partial(_work, config=config, tracker=None, build=build)
    with team(config.processes, output, beside) as first:
        _work(first, config, tracker, build)
    return output / "model"


def build_reference(config: TrainConfig, library: Library) -> Qwen2ForCausalLM:
    model = build_model(config.architecture, token_counts(library, config), config.circuit)
    if config.device == "cpu":
        use_blocks(model)
    return model


def _work(team: Team, config: TrainConfig, tracker: Tracker | None, build: Builder) -> None:
    """One process's part of the training; the first one reports and writes."""
    torch.set_num_threads(config.threads)
    output = Path(config.output)
    library = prepare(config, output / "text")
    torch.manual_seed(config.seed)
    model = build(config, library)
    growing, total = grown_at(config), sum(steps_of(config))
    naming = begins_at(config, "named") if config.grown and config.circuit else total
    begins = begins_at(config, config.from_phase) if config.from_phase else 0
    saved = checkpoint.step_of(output)
    if max(begins, saved) > growing:  # to the shape alone: the weights are read
        model = widen(model, config.grown_hidden, config.grown_feed_forward)
    if config.from_model and not saved:
        checkpoint.take_weights(model, Path(config.from_model), library.tokenizer)
    nn.Module.to(model, config.device).train()
    circuit = PASSED_THROUGH if config.circuit else ()
    optimizer = build_optimizer(model, config, circuit)
    start = checkpoint.load(output, model, optimizer) or begins
    with Progress(*COLUMNS, disable=team.rank > 0) as progress:
        task = progress.add_task("training", total=total, completed=start, losses="")
        for step in range(start, total):
            if step == growing:
                model = grow(model, config, library)
                optimizer = build_optimizer(model, config, circuit)
            if step == naming:
                size = config.architecture
                name_values(model, library, size.hidden, size.feed_forward, config.seed)
                optimizer = build_optimizer(model, config, circuit)
            shares = config.grown_shares if step >= growing else ()
            batch = draw_batch(config, library.in_shares(shares), step)
            metrics = train_step(model, optimizer, batch, step, config, team)
            progress.advance(task)
            if team.rank > 0:
                continue
            if step % config.log_every == 0:
                losses = " ".join(f"{name} {value:.3f}" for name, value in metrics.items())
                progress.update(task, losses=losses)
                progress.console.print(f"step {step} {losses}", highlight=False)
                if tracker is not None:
                    tracker.log(metrics, step=step)
            if (step + 1) % config.checkpoint_every == 0 or step + 1 == total:
                checkpoint.save(output, model, optimizer, step + 1)
    if team.rank == 0:
        export(model, library, config, output / "model")


def grow(model: Qwen2ForCausalLM, config: TrainConfig, library: Library) -> Qwen2ForCausalLM:
    """The model widened, and with heads that follow links if it has the first circuit."""
    torch.manual_seed(config.seed + 1)
    wider = widen(model, config.grown_hidden, config.grown_feed_forward)
    if config.circuit:
        small = model.config
        follow_links(wider, library, small.hidden_size, small.intermediate_size, config.seed)
    return wider.train()


def token_counts(library: Library, config: TrainConfig) -> Tensor:
    """How often each token occurs, over all streams."""
    size = config.architecture.vocabulary
    return torch.from_numpy(sum(np.bincount(stream, minlength=size) for stream in library.streams))


def export(model: Qwen2ForCausalLM, library: Library, config: TrainConfig, folder: Path) -> None:
    """Write the model in bfloat16 with its tokenizer, as ``from_pretrained`` reads them."""
    copy.deepcopy(model).bfloat16().save_pretrained(folder)
    save_tokenizer(library.tokenizer, folder, config.architecture.max_positions)
