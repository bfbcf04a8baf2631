"""Tracing a memory: of any text, or of an example that a run has measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from memollm import identity, samples
from memollm.config import RunConfig
from memollm.evaluation.base import Evaluation
from memollm.loading import Models
from memollm.registry import name_of
from memollm.report import retention_page
from memollm.report.settings import settings
from memollm.traces import file
from memollm.traces.trace import Trace

STILL_SEEN = (
    "This mode attenuates what fades and removes nothing: tokens that fell below the threshold are "
    "marked as forgotten, and are still seen."
)
FACTS = ("id", "question", "expected", "answer", "correct")  # of an example, for who reads it
Sample = Mapping[str, Any]


def require_traceable(config: RunConfig) -> None:
    """Refuse a mode whose memory is not ours to look into, before any model is loaded.

    Raises:
        ValueError: naming the mode.
    """
    if config.mode.apart or not config.mode.has_memory:
        raise ValueError(
            f"mode={name_of(config.mode)} has no retention to trace: choose a mode with the "
            "memory, such as sparse_attention or soft_delete"
        )


def of_text(config: RunConfig, text: str, max_new_tokens: int, models: Models) -> Trace:
    """The trace of ``text`` under the memory of ``config``, and of its greedy continuation.

    Raises:
        ValueError: for a text or a memory that the model cannot take.
    """
    from memollm.hf.tracing import trace_text  # imports transformers

    require_traceable(config)
    config.model.prepare()
    subject = models.subject(config.model, config.memory, config.mode)
    return _told(trace_text(subject, text, max_new_tokens), config)  # pyright: ignore


def of_example(config: RunConfig, folder: Path, wanted: str | None, models: Models) -> Trace:
    """The trace of one example of the run in ``folder``, measured once more.

    Args:
        config: the run's.
        folder: where its samples are.
        wanted: ``<evaluation>/<id of the sample>``; None: one whose answer is known to need certain
            tokens if there is any, a wrong one if there is, and of those the longest.
        models: where subjects come from.

    Raises:
        ValueError: if there is no such example.
    """
    from memollm.hf.tracing import TracedSubject

    require_traceable(config)
    measured = {name: some for name, some in samples.read(folder).items() if some}
    name, sample_id = _choose(config.evaluation, measured, wanted, folder)
    evaluation: Evaluation = config.evaluation[name]
    config.model.prepare()
    evaluation.prepare()
    subject = models.subject(config.model, config.memory, config.mode)
    traced = TracedSubject(subject)  # pyright: ignore[reportArgumentType] - an HFSubject
    evaluation.check(traced)
    others = {it["id"] for it in measured[name]} - {sample_id}
    for sample in evaluation.samples(traced, others):
        if sample["id"] == sample_id:
            trace = traced.trace(sample.get("prompt_tokens"))
            return _told(trace, config, {"evaluation": name, **sample})
    raise ValueError(f"evaluation.{name} no longer has the example {sample_id!r}")


def leave(trace: Trace, folder: Path, max_bytes: int = file.MAX_BYTES) -> tuple[Trace, list[Path]]:
    """Write ``trace.npz`` and ``retention.html``; give the trace as it was written, and both."""
    trace = file.fitted(trace, max_bytes)
    folder.mkdir(parents=True, exist_ok=True)
    return trace, [file.save(trace, folder), retention_page.write(trace, folder)]


def _choose(
    evaluations: Mapping[str, Any],
    measured: Mapping[str, Sequence[Sample]],
    wanted: str | None,
    folder: Path,
) -> tuple[str, str]:
    if wanted is not None:
        name, _, sample_id = wanted.partition("/")
        known = [str(it["id"]) for it in measured.get(name, ())]
        if sample_id in known:
            return name, sample_id
        allowed = known[:20] if known else [f"{it}/..." for it in measured]
        raise ValueError(
            f"{wanted!r} is not an example of {folder}: choose from {', '.join(allowed) or 'none'}"
        )
    paired = [it for it in measured if it in evaluations and evaluations[it].outcome is not None]
    candidates = [(name, sample) for name in paired for sample in measured[name]]
    if candidates:
        name, sample = max(candidates, key=lambda it: _interest(it[1]))
        return name, str(sample["id"])
    raise ValueError(
        f"{folder} has no example to trace (samples.jsonl of an evaluation such as needle or "
        "perplexity): give a text"
    )


def _interest(sample: Sample) -> tuple[bool, bool, int]:
    wrong = sample.get("correct") is False
    return bool(sample.get("evidence")), wrong, int(sample.get("prompt_tokens") or 0)


def _told(trace: Trace, config: RunConfig, sample: Sample | None = None) -> Trace:
    """``trace`` with what a reader needs to know."""
    flat = settings(identity.described(config))
    sample = sample or {}
    facts = {key: str(sample[key]) for key in ("evaluation", *FACTS) if sample.get(key) is not None}
    return dataclasses.replace(
        trace,
        settings={key: it for key, it in flat.items() if not key.startswith("evaluation")},
        facts=facts,
        evidence=[(int(first), int(past)) for first, past in sample.get("evidence") or ()],
        still_seen=STILL_SEEN if config.mode.graded else "",
    )
