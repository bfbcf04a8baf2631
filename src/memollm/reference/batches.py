"""Batches: which samples a step sees, at which positions; a pure function of seed and step.

Nothing is carried from step to step, so a training resumed at any step sees what it would have.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from memollm.reference import chains, pairs, paraphrases, samples, tracking
from memollm.reference.config import Stage, TrainConfig
from memollm.reference.library import Library

KINDS = (
    samples.text, samples.needle, samples.dense, chains.chain, samples.copy,
    samples.keyless, pairs.pairs, tracking.tracking, paraphrases.paraphrased,
)  # fmt: skip


@dataclass(frozen=True)
class Batch:
    """Arrays of (sequences, length); positions are shared by the sequences."""

    tokens: np.ndarray
    roles: np.ndarray
    positions: np.ndarray  # (1, length)


def steps_of(config: TrainConfig) -> list[int]:
    """Steps of each stage of all phases, after scaling the budget."""
    return [scaled(stage, config) for phase in config.phases for stage in phase.stages]


def scaled(stage: Stage, config: TrainConfig) -> int:
    """Steps of one stage."""
    return max(1, round(stage.steps * config.scale))


def begins_at(config: TrainConfig, name: str) -> int:
    """The first step of the phase of that name.

    Raises:
        KeyError: if there is none.
    """
    step = 0
    for phase in config.phases:
        if phase.name == name:
            return step
        step += sum(scaled(stage, config) for stage in phase.stages)
    raise KeyError(name)


def grown_at(config: TrainConfig) -> int:
    """The step before which the model is widened; past the last one if it never is."""
    return begins_at(config, "grown") if config.grown else sum(steps_of(config))


def stage_at(config: TrainConfig, step: int) -> Stage:
    stages = [stage for phase in config.phases for stage in phase.stages]
    for stage, steps in zip(stages, steps_of(config), strict=True):
        if step < steps:
            return stage
        step -= steps
    raise IndexError("step lies beyond the last stage")


def draw_batch(config: TrainConfig, library: Library, step: int) -> Batch:
    rng = np.random.default_rng([config.seed, step])
    stage = stage_at(config, step)
    shares = [stage.needle, stage.dense, stage.chain, stage.copy]
    shares += [stage.keyless, stage.pairs, stage.tracking, stage.paraphrased]
    shares = [1 - sum(shares), *shares]
    drawn = [
        KINDS[kind](rng, library, stage.length)
        for kind in rng.choice(len(KINDS), stage.sequences, p=shares)
    ]
    positions = np.arange(stage.length)
    if rng.random() < config.jump_share:
        positions = positions + jumps(rng, stage.length, config.architecture.max_positions)
    return Batch(
        np.stack([sample.tokens for sample in drawn]),
        np.stack([sample.roles for sample in drawn]),
        positions[None],
    )


def jumps(rng: np.random.Generator, length: int, furthest: int) -> np.ndarray:
    """Offsets that grow at up to four places and stay below ``furthest - length``.

    A short sequence then spans far positions (PoSE; Zhu et al., 2023, arXiv:2309.10400).
    """
    places = np.sort(rng.integers(1, length, int(rng.integers(1, 5))))
    gaps = rng.dirichlet(np.ones(len(places) + 1))[:-1] * (furthest - length)
    offsets = np.zeros(length, dtype=np.int64)
    for place, gap in zip(places, gaps, strict=True):
        offsets[place:] += int(gap * rng.random())
    return offsets
