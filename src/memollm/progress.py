"""What a run says while it works: a bar on a terminal, one line per evaluation elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


class Voice:
    """Tells a person at ``console`` how far a run is."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def place(self, folder: Path) -> str:
        """``folder`` as seen from here."""
        here = Path.cwd()
        return str(folder.relative_to(here) if folder.is_relative_to(here) else folder)

    def say(self, line: str) -> None:
        self._console.print(escape(line), highlight=False, soft_wrap=True)

    @contextmanager
    def waiting(self, task: str) -> Iterator[None]:
        """A spinner, on a terminal, while something of unknown length goes on."""
        if self._console.is_terminal:
            with self._console.status(escape(task)):
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
            row = bar.add_task(escape(task), total=total, completed=done)
            yield lambda: bar.advance(row)

    def result(self, name: str, result: Result, samples: int, origin: str = "") -> None:
        """One line that sums an evaluation up."""
        metrics = ", ".join(f"{key} {it.value:.4g}" for key, it in list(result.metrics.items())[:3])
        self.say(f"{name}: {metrics} ({samples} samples, {origin or f'{result.seconds:.1f} s'})")
