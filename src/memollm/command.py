"""What ``run.py`` does: from a command line to records, a table and an exit code.

One call is one cell, or with ``-m`` a sweep of them. All cells are checked before the first one
runs; each leaves its record, whatever becomes of it; a table of them ends the run. Exit code 0:
all finished, 1: some failed, 2: refused, nothing was measured.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
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
from memollm.loading import Models
from memollm.record import FILE, RunRecord
from memollm.refusals import COMPOSITION, explain
from memollm.registry import name_of
from memollm.report import terminal
from memollm.tracking.base import LiveTracker

UNTOLD = {"mode", "experiment", "evaluation", "tracker", "outputs", "resume", "force"}
models = Models()  # one process runs many cells on the same model


def cell(composed: DictConfig) -> None:
    """Run one cell; what goes wrong is in its record and on the terminal, and stops no other."""
    context, config = HydraConfig.get(), live(composed)
    folder = Path(context.runtime.output_dir)
    outputs = Path(context.runtime.cwd, config.outputs)
    sweep = folder.parent if context.mode == RunMode.MULTIRUN else None
    title = named(config, context.overrides.task)

    def start_tracker(described: dict[str, Any]) -> LiveTracker:
        return config.tracker.start(
            run_dir=str(folder),
            name=title,
            group="-".join(sweep.parts[-2:]) if sweep else None,
            job_type=name_of(config.mode),
            tags=[name_of(config.model), name_of(config.mode)],
            config=described,
        )

    if config.force or not config.resume:
        roots = [sweep] if sweep else []  # what this sweep measured is as new as it gets
    else:
        roots = [outputs, sweep or folder]
    if sweep:
        print(f"\n[{context.job.num}] {title}", flush=True)
    try:
        runner.run(config, folder, start_tracker, models, roots, illustrate=illustrate)
    except runner.Refused as refusal:
        complain(f"{title}: {refusal}")
    except Exception as error:  # a cell must not stop its sweep
        complain(f"{title}: {type(error).__name__}: {error} (traceback in {folder / FILE})")


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
    seen = set()
    for config in requested:
        needs = repr((config.model, config.evaluation))
        if needs not in seen:
            runner.prepare(config)
        seen.add(needs)


def complain(text: str) -> None:
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"[bold red]error[/]: {escape(text)}")
