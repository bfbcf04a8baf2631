"""What Hydra calls for each cell, in this process or in a worker of a launcher's.

A worker knows nothing of the command that it works for but what is in the job: plain data.
"""

from __future__ import annotations

import math
import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from memollm import devices
from memollm.cell import Cell, elsewhere, named
from memollm.config import RunConfig, live, register_schemas
from memollm.kvpress import process
from memollm.loading import Models
from memollm.mirror import summary
from memollm.record import FILE, Status, load
from memollm.sweep import Tally

models = Models()  # one process runs many cells on the same model


def this_process() -> str:
    """The process that asks, among all machines."""
    return f"{socket.gethostname()} {os.getpid()}"


@dataclass
class Job:
    """A cell of a command's, whichever Hydra says."""

    home: Path  # where the command was typed: relative paths start there
    command: Sequence[str]  # sys.argv; records quote it
    threads: int | None = None  # of torch in a worker
    tally: Tally | None = None  # of a sweep whose cells are known
    shared: frozenset[str] = frozenset()  # settings that all its cells have
    skip: frozenset[int] = frozenset()  # cells that need not be run: done, or the same as another
    origin: str = field(default_factory=this_process)

    def __call__(self, composed: DictConfig) -> float | list[float] | None:
        """Run one cell where its mode can act; what a search asks for is returned."""
        context = HydraConfig.get()
        multirun = context.mode == RunMode.MULTIRUN
        number = int(context.job.num) if multirun else 0
        if number in self.skip:
            return None
        away = this_process() != self.origin
        if away:
            self._settle_in()
        config = live(composed)
        if away and config.model.device in ("auto", "cuda"):
            devices.take_gpu()
        one = self._cell(config, context, number, multirun, away)
        if config.mode.apart:
            models.forget()  # a second one rarely fits beside it
            elsewhere(one)
        else:
            process.rest()
            one.perform(models)
        return sought(one.folder, config.objective)

    def _cell(
        self, config: RunConfig, context: Any, number: int, multirun: bool, away: bool
    ) -> Cell:
        folder = Path(context.runtime.output_dir)
        outputs = self.home / config.outputs
        title = named(config, [it for it in context.overrides.task if it not in self.shared])
        sweep = folder.parent if multirun else None
        if config.force or not config.resume:
            roots = [sweep] if sweep else []  # what this sweep measured is as new as it gets
        else:
            roots = [outputs, sweep or folder]
        group = "-".join(sweep.parts[-2:]) if sweep else None
        prefix, bar = (f"[{number}] ", "") if away else ("", "")
        if sweep and not away:
            bar = self._announce(number, title)
        elif sweep:
            print(f"{prefix}{title}", flush=True)
        return Cell(config, folder, title, group, roots, outputs, prefix, bar)

    def _announce(self, number: int, title: str) -> str:
        """Say which cell it is and how far the sweep has come; give what stands before a bar."""
        if self.tally is None:
            print(f"\n[{number}] {title}", flush=True)
            return ""
        count = self.tally.count()
        print(f"\n[{count.settled + 1}/{count.total}] {title}  ({count.details})", flush=True)
        return f"{count} · "

    def _settle_in(self) -> None:
        """Make a worker's process like the one that the command was typed in."""
        if not self.home.is_dir():
            raise FileNotFoundError(
                f"{self.home} is not there on {socket.gethostname()}: a sweep over several "
                "machines needs a folder that they share"
            )
        os.chdir(self.home)
        sys.argv = list(self.command)
        register_schemas()
        use(self.threads)


def use(threads: int | None) -> None:
    """Have torch work with so many threads; None: with as many as it likes."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def sought(folder: Path, objective: Any) -> float | list[float] | None:
    """The metrics that a search asks for, from a cell's record; nan where it has none."""
    if not objective:
        return None
    values: dict[str, Any] = {}
    if (folder / FILE).exists():
        run = load(folder)
        values = summary(run) if run.status == Status.finished else {}
    if isinstance(objective, str):
        return float(values.get(objective, math.nan))
    return [float(values.get(name, math.nan)) for name in objective]
