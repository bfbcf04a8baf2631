"""What ``run.py`` does: from a command line to records, a table and an exit code.

One call is one cell, or with ``-m`` a sweep of them. All cells are checked before the first one
runs; each leaves its record, whatever becomes of it; a table of them ends the run. Exit code 0:
all finished, 1: some failed, 2: refused, nothing was measured.
"""

from __future__ import annotations

import dataclasses
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser  # the parser that hydra.main uses
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape

from memollm import cells, runner
from memollm.config import RunConfig, live, register_schemas
from memollm.kvpress import process
from memollm.kvpress.mode import KVPress
from memollm.kvpress.suited import require_suited
from memollm.loading import Models
from memollm.record import FILE, Failure, RunRecord, Status, load, save
from memollm.refusals import COMPOSITION, explain
from memollm.registry import name_of
from memollm.report import terminal
from memollm.tracking.base import LiveTracker

UNTOLD = {"mode", "experiment", "evaluation", "tracker", "outputs", "resume", "force"}
models = Models()  # one process runs many cells on the same model


@dataclass(frozen=True)
class Cell:
    """A cell and its place, as plain data: it may be run here or in another process."""

    config: RunConfig
    folder: Path
    title: str
    group: str | None  # of its tracker: the sweep
    roots: Sequence[Path]  # of earlier runs

    def perform(self, models: Models) -> None:
        """Run it; what goes wrong is in its record and on the terminal, and stops no other."""
        try:
            runner.run(
                self.config, self.folder, self._start_tracker, models, self.roots,
                illustrate=illustrate,
            )  # fmt: skip
        except runner.Refused as refusal:
            complain(f"{self.title}: {refusal}")
        except Exception as error:  # a cell must not stop its sweep
            trace = f"(traceback in {self.folder / FILE})"
            complain(f"{self.title}: {type(error).__name__}: {error} {trace}")

    def _start_tracker(self, described: dict[str, Any]) -> LiveTracker:
        config = self.config
        return config.tracker.start(
            run_dir=str(self.folder),
            name=self.title,
            group=self.group,
            job_type=name_of(config.mode),
            tags=[name_of(config.model), name_of(config.mode)],
            config=described,
        )


def cell(composed: DictConfig) -> None:
    """Run one cell, where its mode can act."""
    context, config = HydraConfig.get(), live(composed)
    folder = Path(context.runtime.output_dir)
    outputs = Path(context.runtime.cwd, config.outputs)
    sweep = folder.parent if context.mode == RunMode.MULTIRUN else None
    title = named(config, context.overrides.task)
    if config.force or not config.resume:
        roots = [sweep] if sweep else []  # what this sweep measured is as new as it gets
    else:
        roots = [outputs, sweep or folder]
    if sweep:
        print(f"\n[{context.job.num}] {title}", flush=True)
    group = "-".join(sweep.parts[-2:]) if sweep else None
    here = Cell(config, folder, title, group, roots)
    if config.mode.apart:
        models.forget()  # a second one rarely fits beside it
        elsewhere(here)
    else:
        process.rest()
        here.perform(models)


def elsewhere(one: Cell) -> None:
    """Run a cell in a process of its own; should that end, the record says how."""
    try:
        process.running().ask(one)
    except process.ProcessEnded as error:
        complain(f"{one.title}: {error}")
        if (one.folder / FILE).exists():
            ended = Failure(type(error).__name__, str(error), traceback="")
            begun = load(one.folder)
            save(dataclasses.replace(begun, status=Status.failed, error=ended), one.folder)


def illustrate(run: RunRecord, samples: Mapping[str, Any], folder: Path) -> list[Path]:
    """The run's page and pictures; what draws them is imported when there is something to draw."""
    from memollm.report import page

    return page.illustrate(run, samples, folder)


def named(config: RunConfig, overrides: Sequence[str]) -> str:
    """What sets a cell apart, in a few words."""
    told = [it for it in overrides if re.split(r"[.=]", it)[0] not in UNTOLD]
    return " ".join([name_of(config.mode), *told])


def main(conf: Path, arguments: list[str]) -> int:
    """Check everything, run it, and show the table.

    Args:
        conf: folder of the configuration.
        arguments: the command line, without the program.
    """
    debug = "HYDRA_FULL_ERROR" in os.environ  # set by someone who wants to see the traceback
    os.environ["HYDRA_FULL_ERROR"] = "1"  # hydra.main raises, and leaves the words to us
    register_schemas()
    start = hydra.main(version_base="1.3", config_path=str(conf), config_name="config")(cell)
    args = get_args_parser().parse_intermixed_args(arguments)
    flags = [it for it in arguments if it not in args.overrides]
    try:
        sys.argv = [sys.argv[0], *flags, *args.overrides]  # in the order that Hydra can read
        if args.hydra_help or args.cfg or args.info or args.shell_completion:
            start()
            return 0
        request = cells.requested(conf, args.overrides, args.multirun, args.config_name or "config")
        cells.require_room(request.folder)
        check_data(request.cells)
        request = cells.claim(request, args.overrides)
        sys.argv = [sys.argv[0], *flags, *args.overrides, request.override]
        start()
    except KeyboardInterrupt:
        complain("Interrupted. The same command goes on from here.")
        return 130
    except (*COMPOSITION, ValueError, OSError) as error:
        if debug:
            raise
        complain(explain(error, args.overrides))
        return 2
    return terminal.conclude(request.folder, Path(request.cells[0].outputs))


def check_data(requested: Sequence[RunConfig]) -> None:
    """Refuse what lacks its data or its model, before any model is loaded."""
    pressed = []
    for config in requested:
        if isinstance(config.mode, KVPress):
            require_suited(config.evaluation)
            process.require_installed()
            pressed.append(config.mode)
    seen = set()
    for config in requested:
        needs = repr((config.model, config.evaluation))
        if needs not in seen:
            runner.prepare(config)
        seen.add(needs)
    for mode in pressed:
        process.running().ask(process.Check(mode))


def complain(text: str) -> None:
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"[bold red]error[/]: {escape(text)}")
