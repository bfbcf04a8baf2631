"""What a run says while it works: a bar on a terminal, one line per evaluation elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from memollm.record import Result

PERIOD = 2.0  # seconds between two looks at cells that run elsewhere


class Voice:
    """Tells a person at ``console`` how far a run is.

    Args:
        console: where it is said.
        prefix: begins each line, where several runs speak at once.
        sweep: stands before a bar: how far the sweep is.
    """

    def __init__(self, console: Console, prefix: str = "", sweep: str = "") -> None:
        self._console = console
        self._prefix = prefix
        self._sweep = sweep

    def place(self, folder: Path) -> str:
        """``folder`` as seen from here."""
        here = Path.cwd()
        return str(folder.relative_to(here) if folder.is_relative_to(here) else folder)

    def say(self, line: str) -> None:
        self._console.print(escape(self._prefix + line), highlight=False, soft_wrap=True)

    @contextmanager
    def waiting(self, task: str) -> Iterator[None]:
        """A spinner, on a terminal, while something of unknown length goes on."""
        if self._console.is_terminal:
            with self._console.status(escape(f"{self._sweep}{task}")):
                yield
        else:
            yield

    @contextmanager
    def counting(self, task: str, done: int, total: int) -> Iterator[Callable[[], None]]:
        """A bar, on a terminal; call what it gives once for each sample."""
        if not self._console.is_terminal:
            yield lambda: None
            return
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._console, transient=True) as bar:
            row = bar.add_task(escape(f"{self._sweep}{task}"), total=total, completed=done)
            yield lambda: bar.advance(row)

    def result(self, name: str, result: Result, samples: int, origin: str = "") -> None:
        """One line that sums an evaluation up."""
        metrics = ", ".join(f"{key} {it.value:.4g}" for key, it in list(result.metrics.items())[:3])
        self.say(f"{name}: {metrics} ({samples} samples, {origin or f'{result.seconds:.1f} s'})")


@contextmanager
def watching(look: Callable[[], tuple[int, str]], console: Console) -> Iterator[None]:
    """Say how far others are, while they work.

    On a terminal it is one line that stays at the bottom, elsewhere a line for each step.

    Args:
        look: gives how many steps have been made, and the line.
        console: where it is said.
    """
    over = threading.Event()
    status = console.status("") if console.is_terminal else None

    def watch() -> None:
        steps = 0
        while not over.wait(PERIOD):
            made, line = look()
            if status is not None:
                status.update(escape(line))
            elif made != steps:
                console.print(escape(line), highlight=False, soft_wrap=True)
            steps = made

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        with status or nullcontext():
            yield
    finally:
        over.set()
        thread.join()
