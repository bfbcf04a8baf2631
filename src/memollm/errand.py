"""One cell whose task does not measure: its record and its tracker, around whatever it does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from memollm import identity
from memollm.config import RunConfig
from memollm.journal import Journal
from memollm.mirror import Mirror
from memollm.progress import Voice
from memollm.provenance import provenance
from memollm.record import RunRecord, Status
from memollm.tracking.base import LiveTracker


def run(
    config: RunConfig,
    folder: Path,
    start_tracker: Callable[[dict[str, Any]], LiveTracker],
    console: Console | None = None,
) -> RunRecord:
    """Do what ``config.task`` says, and leave a record of it in ``folder``.

    Raises:
        Exception: whatever went wrong; the record has it, too.
    """
    voice = Voice(console or Console())
    described = identity.described(config)
    begun = RunRecord(
        status=Status.running,
        config=described,
        config_hash=identity.task_hash(config),
        provenance=provenance(config.seed, device=None),
    )
    journal, mirror = Journal(folder, begun, {}), Mirror(voice.say)
    try:
        config.task.prepare(config)
        mirror.start(lambda: start_tracker(described))
        for name, result in config.task.perform(config, folder, mirror).items():
            journal.result(name, result)
            mirror.result(name, result, [])
        journal.finish()
    except BaseException as error:  # KeyboardInterrupt, too: the record says how it ended
        journal.fail(error)
        raise
    finally:
        mirror.close(journal.record, folder)
        if mirror.error:
            journal.update(tracker_error=mirror.error)
    return journal.record
