"""What ``run.py`` does: from a command line to records, a table and an exit code.

One call is one cell, or with ``-m`` a sweep of them. All cells are checked before the first one
runs; each leaves its record, whatever becomes of it; a table of them ends the run. Exit code 0:
all finished, 1: some failed, 2: refused, nothing was measured.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import hydra
from hydra._internal.utils import get_args_parser  # the parser that hydra.main uses

from memollm import cells, engines, runner, sweep
from memollm.cell import complain, named
from memollm.cells import Request
from memollm.config import RunConfig, register_schemas
from memollm.job import Job, use
from memollm.kvpress import process
from memollm.kvpress.mode import KVPress
from memollm.kvpress.suited import require_suited
from memollm.progress import watching
from memollm.refusals import COMPOSITION, explain
from memollm.report import terminal
from memollm.sweep import Planned, Tally


def main(conf: Path, arguments: list[str]) -> int:
    """Check everything, run it, and show the table.

    Args:
        conf: folder of the configuration.
        arguments: the command line, without the program.
    """
    debug = "HYDRA_FULL_ERROR" in os.environ  # set by someone who wants to see the traceback
    os.environ["HYDRA_FULL_ERROR"] = "1"  # hydra.main raises, and leaves the words to us
    register_schemas()
    args = get_args_parser().parse_intermixed_args(arguments)
    flags = [it for it in arguments if it not in args.overrides]
    job = Job(Path.cwd(), [sys.argv[0], *arguments])

    def start(settings: Sequence[str] = ()) -> None:
        sys.argv = [sys.argv[0], *flags, *args.overrides, *settings]  # an order Hydra can read
        hydra.main(version_base="1.3", config_path=str(conf), config_name="config")(job)()

    try:
        if args.hydra_help or args.cfg or args.info or args.shell_completion:
            start()
            return 0
        request = cells.requested(conf, args.overrides, args.multirun, args.config_name or "config")
        asked = request.cells[0]
        engines.require(request.engine, asked.objective)
        cells.require_room(request.folder)
        check_data(request.cells)
        job.threads = request.engine.threads
        planned = planned_cells(request) if request.multirun or asked.dry_run else []
        if asked.dry_run:
            if not request.listed:
                print("The sweeper chooses its cells as it goes; without its choices:")
            print(*sweep.told(planned), sep="\n")
            return 0
        request = cells.claim(request, args.overrides)
        if request.multirun and request.numbered:
            job.tally = Tally.of(planned, request.folder)
            job.skip, job.shared = frozenset(job.tally.same), request.shared
        settings = [request.override, *request.engine.settings(args.overrides)]
        if request.engine.here:
            start(settings)
        else:
            launch(job, request, lambda: start(settings))
    except KeyboardInterrupt:
        complain("Interrupted. The same command goes on from here.")
        return 130
    except (*COMPOSITION, ValueError, OSError) as error:
        if debug:
            raise
        complain(explain(error, args.overrides))
        return 2
    return conclude(request, job.tally)


def launch(job: Job, request: Request, start: Callable[[], None]) -> None:
    """Have a launcher run the cells; should it lose a worker, have it run what is left.

    It is tried again as long as that brings at least one more cell to an end.
    """
    tally, console = job.tally, terminal.screen()

    def look() -> tuple[int, str]:
        count = tally.count() if tally else None
        return (count.settled, str(count)) if count else (0, "the sweeper chooses cells as it goes")

    while True:
        left = tally.missing() if tally else []
        try:
            with watching(look, console):
                start()
        except Exception as error:  # a launcher's own, or what a worker could not record
            words = str(error).strip() or "no more is known"
            complain(f"hydra/launcher={request.engine.launcher}: {type(error).__name__}: {words}")
        if tally is None:
            return
        lost = tally.missing()
        if not lost or len(lost) == len(left):
            return
        complain(f"{len(lost)} cells were lost with their workers, and are launched again")
        job.skip = frozenset(range(tally.total)) - frozenset(lost)


def planned_cells(request: Request) -> list[Planned]:
    """What would become of each cell that is asked for."""
    use(request.engine.threads)  # as in the workers; it is in identities
    titles = [
        named(config, [it for it in overrides if it not in request.shared])
        for config, overrides in zip(request.cells, request.overrides, strict=True)
    ]
    return sweep.plan(request.cells, titles, Path(request.cells[0].outputs))


def conclude(request: Request, tally: Tally | None) -> int:
    """Show the table and how many cells there are behind it; give the exit code."""
    code = terminal.conclude(request.folder, Path(request.cells[0].outputs))
    if request.multirun:
        group = "-".join(request.folder.parts[-2:])
        from memollm import report_run  # draws, which few calls need

        report_run.mirror(request.cells[0].tracker, request.folder, group)
    if tally is None:
        return code
    count, missing = tally.count(), tally.missing()
    left = f", {len(missing)} not measured: {', '.join(map(str, missing))}" if missing else ""
    details = dataclasses.replace(count, left=None).details
    print(f"{count.good}/{count.total} cells finished: {details}{left}")
    return code or int(count.good < count.total)


def check_data(requested: Sequence[RunConfig]) -> None:
    """Refuse what lacks its data or its model, before any model is loaded."""
    for config in requested:
        config.task.prepare(config)
    requested = [config for config in requested if config.task.measures]
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
