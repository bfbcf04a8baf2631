"""``rm``: which folders may go, and what else knows of them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from memollm import record
from memollm.record import Status
from memollm.runs.found import History, Run

SWEEP = "multirun.yaml"  # what Hydra leaves in the folder of a sweep


class Irremovable(ValueError):
    """A run that must not be removed."""


def require_removable(run: Run, interrupted: bool = False) -> None:
    """Refuse a run that may still be at work, or that does not lie in the outputs.

    Args:
        run: what is to go.
        interrupted: that a run with status ``running`` was killed, in fact.

    Raises:
        Irremovable: saying why.
    """
    below = run.folder.is_relative_to(run.outputs) and run.folder != run.outputs
    if not below or run.folder.is_symlink():
        raise Irremovable(f"{run.folder} is not below outputs={run.outputs}: nothing was removed")
    if run.record.status == Status.running and not interrupted:
        raise Irremovable(
            f"{run.id} is running, or was killed: its record cannot tell. If nothing is at work "
            "there, say so with --interrupted"
        )


def relying(run: Run, known: History) -> list[Run]:
    """Other runs that took results or samples over from ``run``."""
    folder = run.folder.resolve()
    found = []
    for other in known.runs:
        sources = [*other.record.reused_from.values(), other.record.resumed_from]
        if other.folder != run.folder and folder in [Path(it).resolve() for it in sources if it]:
            found.append(other)
    return found


def remove(runs: Sequence[Run], outputs: Path) -> list[Path]:
    """Delete the folders of ``runs``, sweeps that have lost all their cells, and empty days.

    Returns:
        What was deleted; of a sweep that is gone, its folder alone.
    """
    gone = []
    for run in runs:
        shutil.rmtree(run.folder)
        folder = run.folder
        if _is_spent_sweep(folder.parent):
            folder = folder.parent
            shutil.rmtree(folder)
        gone.append(folder)
        for above in folder.parents:
            if above == outputs or next(above.iterdir(), None) is not None:
                break
            above.rmdir()
    return [
        it for it in gone if not any(it != other and it.is_relative_to(other) for other in gone)
    ]


def _is_spent_sweep(folder: Path) -> bool:
    """Whether a sweep lies there of which no cell is left, or has begun."""
    begun = any((cell / ".hydra").exists() for cell in folder.iterdir() if cell.is_dir())
    return (folder / SWEEP).exists() and not begun and not any(record.folders_below(folder))
