"""One cell and its place: run here or in another process, with a record whatever becomes of it."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from memollm import devices, errand, identity, runner
from memollm.claims import Owner, claimed
from memollm.config import RunConfig
from memollm.kvpress import process
from memollm.loading import Models
from memollm.progress import Voice
from memollm.record import FILE, Failure, RunRecord, Status, load, save
from memollm.registry import name_of
from memollm.tracking.base import LiveTracker

CLAIMS = ".claims"  # below the folder of all runs
UNTOLD = {
    "task", "mode", "experiment", "evaluation", "tracker", "outputs", "resume", "force",
    "dry_run", "objective", "trace",
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """A cell and its place, as plain data: it may be run here or in another process."""

    config: RunConfig
    folder: Path
    title: str
    group: str | None  # of its tracker: the sweep
    roots: Sequence[Path]  # of earlier runs
    outputs: Path  # folder of all runs
    prefix: str = ""  # of its lines, where several cells speak at once
    sweep: str = ""  # how far the sweep is

    def perform(self, models: Models) -> None:
        """Run it; what goes wrong is in its record and on the terminal, and stops no other.

        While another process has the same cell, or the same folder, this one waits, and then
        takes over what that has measured.
        """
        voice = self.voice
        claims, place = self.outputs / CLAIMS, str(self.folder.resolve())
        own = f"folder-{hashlib.sha256(place.encode()).hexdigest()[:32]}"

        def waits(owner: Owner | None) -> None:
            voice.say(f"{self.title}: {owner or 'another process'} is at it, this one waits")

        try:
            same = f"cell-{identity.cell_hash(self.config)[:32]}"
            with claimed(claims, same, waits), claimed(claims, own, waits):
                self._run(models, voice)
        except runner.Refused as refusal:
            complain(f"{self.title}: {refusal}")
        except Exception as error:  # a cell must not stop its sweep
            trace = f"(traceback in {self.folder / FILE})"
            complain(f"{self.title}: {type(error).__name__}: {error} {trace}")

    @property
    def voice(self) -> Voice:
        console = Console(force_terminal=False) if self.prefix else Console()
        return Voice(console, self.prefix, self.sweep)

    def _run(self, models: Models, voice: Voice) -> None:
        if not self.config.task.measures:
            errand.run(self.config, self.folder, self._start_tracker)
            return
        runner.run(
            self.config,
            self.folder,
            self._start_tracker,
            models,
            self.roots,
            voice,
            illustrate,
            on_device,
        )
        if self.config.trace:
            leave_trace(self.config, self.folder, models, voice)

    def _start_tracker(self, described: dict[str, Any]) -> LiveTracker:
        config = self.config
        kind = name_of(config.mode if config.task.measures else config.task)
        return config.tracker.start(
            run_dir=str(self.folder),
            name=self.title,
            group=self.group,
            job_type=kind,
            tags=[name_of(config.model), kind],
            config=described,
        )


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


def on_device(
    device: Any, alone: bool, waits: Callable[[], None]
) -> AbstractContextManager[object]:
    """A turn at a torch device."""
    return devices.turn(devices.name(device), alone, waits)


def illustrate(run: RunRecord, samples: Mapping[str, Any], folder: Path) -> list[Path]:
    """The run's page and pictures; what draws them is imported when there is something to draw."""
    from memollm.report import page

    return page.illustrate(run, samples, folder)


def leave_trace(config: RunConfig, folder: Path, models: Models, voice: Voice) -> None:
    """Trace one of the run's examples; what makes a trace is imported when there is one to make."""
    from memollm import tracing

    if not config.mode.has_memory:
        voice.say(f"trace=true: mode={name_of(config.mode)} has no memory to trace")
        return
    trace = tracing.of_example(config, folder, None, models)
    for path in tracing.leave(trace, folder)[1]:
        voice.say(f"trace: {path}")


def named(config: RunConfig, overrides: Sequence[str]) -> str:
    """What sets a cell apart, in a few words."""
    told = [it for it in overrides if re.split(r"[.=/]", it)[0] not in UNTOLD | {"hydra"}]
    return " ".join([name_of(config.mode if config.task.measures else config.task), *told])


def complain(text: str) -> None:
    """Say on stderr that something went wrong."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"[bold red]error[/]: {escape(text)}")
