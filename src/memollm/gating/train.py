"""Training gates on a frozen model: reproducible, and resumed where it was stopped.

Batches are a function of seed and step, and nothing else is random, so that a training that was
killed goes on from its checkpoint to the gates that it would have given.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from rich.progress import Progress, TextColumn, TimeElapsedColumn
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import PreTrainedModel

from memollm.gating import card
from memollm.gating.config import Context, GateTraining
from memollm.gating.data import draw, library
from memollm.gating.gates import Gating
from memollm.gating.losses import of_attention, of_words, total, weights
from memollm.gating.student import Forgetting, Student
from memollm.hf.families import memory_layers
from memollm.hf.gates import shape_of
from memollm.memory.budget import BudgetBy
from memollm.memory.ebbinghaus import Memory
from memollm.memory.strength.base import Reads
from memollm.memory.strength.gates_file import NAME, save
from memollm.reference import checkpoint
from memollm.reference.library import Library

COLUMNS = (
    *Progress.get_default_columns(),
    TimeElapsedColumn(),
    TextColumn("{task.fields[told]}"),
)


@runtime_checkable
class Curves(Protocol):
    """Takes numbers by step."""

    def log(self, metrics: Mapping[str, float], *, step: int) -> None: ...


@dataclass(frozen=True)
class Trained:
    """What came of a training."""

    path: Path  # of the gates
    steps: int  # done so far, in all calls
    seconds: float  # of this call
    last: dict[str, float]  # the loss's terms and median lifetimes, of the last step


def train(
    config: GateTraining,
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    name: str,
    output: Path,
    curves: Curves | None = None,
) -> Trained:
    """Train gates for ``model``, and leave them in ``output`` with their card.

    Args:
        config: what to train, on what, for how long.
        model: is left as it was.
        tokenizer: of the model.
        name: of the model, for the card.
        output: folder of checkpoints, tokenised text and the gates.
        curves: shown numbers as the training goes on.
    """
    output.mkdir(parents=True, exist_ok=True)
    text = library(config, tokenizer, output.parent / "text")
    needing = [it for it in model.parameters() if it.requires_grad]
    for parameter in needing:
        parameter.requires_grad_(False)
    try:
        return _train(config, model.eval(), text, name, output, curves)
    finally:
        for parameter in needing:
            parameter.requires_grad_(True)


def _train(
    config: GateTraining,
    model: PreTrainedModel,
    text: Library,
    name: str,
    output: Path,
    curves: Curves | None,
) -> Trained:
    began = time.perf_counter()
    whole = Memory(layer_fraction=1.0)
    layers = dict.fromkeys(memory_layers(type(model), model.config, whole), nn.Identity())
    forgetting = Forgetting(config.sinks, config.recent, config.every)
    student = Student(model, layers, config.reads == Reads.keys, forgetting)
    with student.attached():
        gating = Gating(_features(student, config, text), config, shape_of(model)["kv_heads"])
        nn.Module.to(gating, model.device)
        student.gates = gating.layers()
        optimizer = torch.optim.AdamW(
            gating.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
        )
        start = checkpoint.load(output, gating, optimizer)
        stop = min(config.steps, start + (config.stop_after or config.steps))
        last: dict[str, float] = {}
        with Progress(*COLUMNS) as progress:
            task = progress.add_task("gates", total=config.steps, completed=start, told="")
            for step in range(start, stop):
                last = _step(student, gating, optimizer, text, step, config)
                told = " ".join(f"{key} {value:.3g}" for key, value in last.items())
                progress.update(task, advance=1, told=told)
                if curves is not None and step % config.log_every == 0:
                    curves.log(last, step=step)
                if (step + 1) % config.checkpoint_every == 0 or step + 1 == stop:
                    checkpoint.save(output, gating, optimizer, step + 1)
    kept = gating.folded(model, name, config)
    save(kept, output / NAME)
    trained = Trained(output / NAME, stop, time.perf_counter() - began, last)
    card.write(kept.fit, config, trained.steps, last, output)
    return trained


def _features(student: Student, config: GateTraining, text: Library) -> dict[int, Tensor]:
    """What gates read of the first batch."""
    ids = torch.from_numpy(draw(config, text, 0)[0]).to(student.model.device)
    student.untouched(ids, 1)
    return {layer: torch.cat(parts, dim=1).clone() for layer, parts in student.read.items()}


def _step(
    student: Student,
    gating: Gating,
    optimizer: torch.optim.Optimizer,
    text: Library,
    step: int,
    config: GateTraining,
) -> dict[str, float]:
    for group in optimizer.param_groups:
        group["lr"] = _rate(config, step)
    tokens, roles = draw(config, text, step)
    device = student.model.device
    ids = torch.from_numpy(tokens.astype(np.int64)).to(device)
    role = torch.from_numpy(roles.astype(np.int64)).to(device)
    graded, budget = config.graded, config.budget_at(step)
    if config.budget_by is BudgetBy.rank:
        student.forgetting = dataclasses.replace(
            student.forgetting, budget=budget, sharpness=config.sharpness_at(step)
        )
    weight = weights(role[:, -graded:], config.answer_weight)
    terms: dict[str, Tensor] = {}
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=config.bfloat16):
        if config.local:
            student.teach(ids, graded, config.chunk)
            for layer in student.gates:
                student.forget(layer, graded)
        else:
            deep = config.context is Context.damped
            said = student.beside_teacher(ids, graded, config.chunk, deep)
            terms = of_words(*said, ids[:, -graded:], weight)
    terms["attention"] = of_attention(student.attention, student.retention, weight)
    over = [student.forgetting.overflow(it, graded, budget) for it in student.lifetime.values()]
    terms["overflow"] = torch.stack(over).mean()
    total(terms, config).backward()
    torch.nn.utils.clip_grad_norm_(gating.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    for noted in (student.lifetime, student.retention, student.attention):
        noted.clear()
    return {key: float(term.detach()) for key, term in terms.items()}


def _rate(config: GateTraining, step: int) -> float:
    """Linear warm-up, then a linear fall to zero."""
    rising = min(1.0, (step + 1) / config.warmup)
    return config.learning_rate * rising * (1 - step / config.steps)
