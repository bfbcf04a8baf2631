"""Speeds that can be compared: modes take turns on one prompt, in random order, in one process.

The same race as ``evaluation=speed``, with all modes in it at once. A second untouched model runs
along: whatever differs between it and the first is noise.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from experiments.timing.claims import BASELINE
from memollm.evaluation.base import Subject
from memollm.evaluation.clock import Clock, quiet, reading
from memollm.evaluation.race import Finish, race
from memollm.evaluation.spread import median
from memollm.evaluation.streaming import score

AGAIN = "baseline again"


@dataclass(frozen=True)
class Pace:
    """One mode at one context."""

    length: str  # short, medium, long
    context: int  # tokens of prompt and decoded text
    mode: str
    tokens_per_second: float  # decoding
    ratio: float  # speed by the baseline's, median over turns
    stderr: float | None  # of the ratio
    prefill_seconds: float
    prefill_ratio: float  # prefill speed by the baseline's
    kept_share: float  # tokens still seen, mean over all layers
    kv_share: float  # bytes held, by those of an ordinary cache


def paces(
    entrants: Mapping[str, Subject],
    stream: Sequence[int],
    contexts: Mapping[str, int],
    *,
    rounds: int,
    turns: int,
    burst: int,
    seed: int = 0,
) -> list[Pace]:
    """Let all ``entrants`` race at each of ``contexts``; on a CPU by one thread's processor time.

    Args:
        entrants: the modes; one of them ``baseline``.
        stream: tokens of a text, from which each round's prompt is cut.
        contexts: tokens, by name.
        rounds: prompts a context.
        turns: of each mode in a round.
        burst: tokens decoded in a turn.
        seed: of the order of turns.
    """
    device = entrants[BASELINE].device
    field = {**entrants, AGAIN: entrants[BASELINE].untouched()}
    found = []
    with quiet(1 if device.type == "cpu" else None) as threads:
        now = reading(Clock.auto, device, threads)
        warm = torch.tensor([stream[: min(contexts.values())]], device=device)
        race(field, warm, 1, burst, random.Random(seed), time.perf_counter)
        for length, context in contexts.items():
            finishes = []
            for number in range(rounds):
                begin = number * (len(stream) - context) // rounds
                ids = torch.tensor([stream[begin : begin + context]], device=device)
                rng = random.Random(f"{seed}/{context}/{number}")
                finishes.append(race(field, ids, turns, burst, rng, now))
            found += [_pace(length, context, mode, finishes) for mode in field]
    return found


def noise(found: Sequence[Pace], length: str) -> float:
    """How far from 1 the ratio of the untouched model to itself is, with two standard errors."""
    (again,) = [it for it in found if it.mode == AGAIN and it.length == length]
    return abs(again.ratio - 1) + 2 * (again.stderr or 0.0)


def perplexity(subject: Subject, ids: Sequence[int]) -> float:
    """Of the second half of ``ids``, streamed through the memory."""
    with subject.session() as session:
        losses = score(session, ids, subject.prefill_chunk, subject.device)
    return float(losses[len(ids) // 2 :].mean().exp())


def plain(found: Sequence[Pace]) -> list[dict[str, Any]]:
    """As data."""
    return [asdict(it) for it in found]


def _pace(length: str, context: int, mode: str, rounds: Sequence[Mapping[str, Finish]]) -> Pace:
    mine, theirs = [it[mode] for it in rounds], [it[BASELINE] for it in rounds]
    steps = [[statistics.fmean(turn) for turn in it.turns] for it in mine]
    before = [[statistics.fmean(turn) for turn in it.turns] for it in theirs]
    ratio, stderr = median(
        [
            [base / own for base, own in zip(*pair, strict=True)]
            for pair in zip(before, steps, strict=True)
        ]
    )
    if mode == BASELINE:
        ratio, stderr = 1.0, None
    use = [it.memory for it in mine]
    return Pace(
        length=length,
        context=context,
        mode=mode,
        tokens_per_second=1 / median(steps)[0],
        ratio=ratio,
        stderr=stderr,
        prefill_seconds=statistics.median(it.prefill for it in mine),
        prefill_ratio=statistics.median(
            base.prefill / own.prefill for base, own in zip(theirs, mine, strict=True)
        ),
        kept_share=statistics.fmean(
            statistics.fmean(it.kept_tokens) / it.seen_tokens for it in use
        ),
        kv_share=statistics.fmean(it.kv_bytes / it.kv_bytes_baseline for it in use),
    )
