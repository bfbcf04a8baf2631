"""One cell, from its configuration to its record.

The order is the point: whatever can be refused is refused before it costs anything (data, then
the model, then what this model cannot do), and whatever was measured is on disk before the
next thing is tried.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from memollm import identity, resume
from memollm.config import RunConfig
from memollm.evaluation.base import Evaluation, Subject
from memollm.evaluation.liveness import require_alive
from memollm.journal import Journal
from memollm.loading import Models
from memollm.mirror import Mirror
from memollm.progress import Voice
from memollm.provenance import provenance
from memollm.record import Measured, Result, RunRecord, Status
from memollm.registry import name_of
from memollm.resume import Earlier
from memollm.tracking.base import LiveTracker

# Gives a device, alone or beside others, and calls the last if that takes a while (``devices``).
Turn = Callable[[Any, bool, Callable[[], None]], AbstractContextManager[object]]
Illustrator = Callable[[RunRecord, Mapping[str, Sequence[Mapping[str, Any]]], Path], Sequence[Path]]


def unguarded(
    device: Any, alone: bool, waits: Callable[[], None]
) -> AbstractContextManager[object]:
    """Nobody else is there to take turns with."""
    return nullcontext()


WAITING = "waits for its turn, something is timed on this device or to be timed"


class Refused(ValueError):
    """A cell that cannot be measured as it is configured; nothing was measured."""


def run(
    config: RunConfig,
    folder: Path,
    start_tracker: Callable[[dict[str, Any]], LiveTracker],
    models: Models,
    roots: Sequence[Path] = (),
    voice: Voice | None = None,
    illustrate: Illustrator | None = None,
    turn: Turn = unguarded,
) -> RunRecord:
    """Measure what is missing of a cell, and leave its record in ``folder``.

    Args:
        config: the cell.
        folder: where its record and samples go.
        start_tracker: given the cell as plain data, starts a tracker that mirrors the run.
        models: where subjects come from.
        roots: folders of earlier runs, whose results and samples are taken over.
        voice: tells a person how it goes.
        illustrate: given the finished record, its samples and the folder, leaves pictures and
            pages there and says which.
        turn: gives the device for each evaluation.

    Raises:
        Refused: if the configuration does not fit its data or its model.
        Exception: whatever went wrong in an evaluation; the record has it, too.
    """
    voice = voice or Voice(Console())
    described = identity.described(config)
    hashes = identity.evaluation_hashes(config)
    whole = identity.config_hash(hashes)
    earlier = resume.search(hashes, whole, roots)
    begun = RunRecord(
        status=Status.running,
        config=described,
        config_hash=whole,
        provenance=provenance(config.seed, device=None),
        results={name: it.result for name, it in earlier.finished.items() if it.result},
        evaluation_hashes=hashes,
        baseline_hashes=identity.baseline_hashes(config),
        resumed_from=str(earlier.unfinished) if earlier.unfinished else None,
        reused_from={name: str(it.folder) for name, it in earlier.finished.items()},
    )
    journal = Journal(folder, begun, earlier.samples)
    mirror = Mirror(voice.say)
    try:
        mirror.start(lambda: start_tracker(described))
        _announce(earlier, journal, mirror, voice)
        missing = {k: v for k, v in config.evaluation.items() if k not in earlier.finished}
        if missing:
            subject = _subject(config, missing, models, voice)
            journal.update(provenance={**begun.provenance, "device": str(subject.device)})
            for name, evaluation in missing.items():
                _plan(name, evaluation, subject, roots, journal, voice)
                alone = evaluation.timed
                with turn(subject.device, alone, lambda name=name: voice.say(f"{name}: {WAITING}")):
                    _seed(config.seed)
                    _measure(name, evaluation, subject, journal, mirror, voice)
        journal.finish()
        if illustrate is not None:
            mirror.show(illustrate(journal.record, journal.samples, folder))
    except BaseException as error:  # KeyboardInterrupt, too: the record says how it ended
        journal.fail(error)
        raise
    finally:
        mirror.close(journal.record, folder)
        if mirror.error:
            journal.update(tracker_error=mirror.error)
    return journal.record


def prepare(config: RunConfig) -> None:
    """Refuse data that is missing and a model that is not there, without loading anything.

    Raises:
        Refused: naming what is wrong.
    """
    with _refusing():
        config.model.prepare()
        limit = config.model.context_length()
        if config.mode.has_memory:
            config.memory.birth.prepare()
    for name, evaluation in config.evaluation.items():
        with _refusing(f"evaluation.{name}: "):
            evaluation.prepare()
            if limit is not None:
                evaluation.fits(f"model {name_of(config.model)}", limit)


def _subject(
    config: RunConfig, evaluations: Mapping[str, Evaluation], models: Models, voice: Voice
) -> Subject:
    prepare(config)
    with voice.waiting("Loading the model"), _refusing():
        subject = models.subject(config.model, config.memory, config.mode)
    for name, evaluation in evaluations.items():
        with _refusing(f"evaluation.{name}: "):
            evaluation.check(subject)
    require_alive(subject)
    return subject


def _plan(
    name: str,
    evaluation: Evaluation,
    subject: Subject,
    roots: Sequence[Path],
    journal: Journal,
    voice: Voice,
) -> None:
    """Say what the run will be able to tell, before it costs anything."""
    if evaluation.outcome is None:
        return
    # Slow to import, and needed by who measures alone.
    from memollm import planning
    from memollm.statistics.pairing import Outcome

    limit = journal.record.config["limit"]
    outcome, prompts = Outcome(evaluation.outcome), evaluation.prompts(subject)
    prompts = prompts if limit is None else min(prompts, limit)
    baseline = journal.record.baseline_hashes[name]
    found = planning.plan(name, outcome, prompts, baseline, roots)
    journal.update(detectable={**journal.record.detectable, name: asdict(found)})
    voice.say(planning.told(name, outcome, found))


def _measure(
    name: str,
    evaluation: Evaluation,
    subject: Subject,
    journal: Journal,
    mirror: Mirror,
    voice: Voice,
) -> None:
    began = time.monotonic()
    done = {sample["id"] for sample in journal.samples[name]}
    if done:
        voice.say(f"{name}: goes on after {len(done)} samples")
    limit, size = journal.record.config["limit"], evaluation.size(subject)
    size = size if limit is None else min(size, limit)
    missing = None if limit is None else size - len(done)
    with voice.counting(name, len(done), size) as advance:
        for sample in itertools.islice(evaluation.samples(subject, done), missing):
            journal.sample(name, sample)
            mirror.sample(name, sample, len(journal.samples[name]) - 1)
            advance()
    samples = journal.samples[name]
    metrics = {key: Measured(**asdict(it)) for key, it in evaluation.metrics(samples).items()}
    result = Result(time.monotonic() - began, metrics)
    journal.result(name, result)
    mirror.result(name, result, samples)
    voice.result(name, result, len(samples))


def _announce(earlier: Earlier, journal: Journal, mirror: Mirror, voice: Voice) -> None:
    for name, found in earlier.finished.items():
        assert found.result is not None
        mirror.result(name, found.result, found.samples)
        origin = f"taken over from {voice.place(found.folder)}"
        voice.result(name, found.result, len(journal.samples[name]), origin)
    if earlier.finished:
        voice.say("What was measured before is not measured again, unless with force=true.")


def _seed(seed: int) -> None:
    """The same start for each evaluation, whichever others ran before it."""
    import torch

    random.seed(seed)
    torch.manual_seed(seed)


@contextmanager
def _refusing(whose: str = "") -> Iterator[None]:
    """Turn a part's complaint into a refusal that says whose it is."""
    try:
        yield
    except (ValueError, OSError) as error:
        text = str(error)
        raise Refused(text if text.startswith(whose.split(":")[0]) else whose + text) from error
