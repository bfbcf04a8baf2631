"""Two runs of one evaluation, example by example: what is compared with what, and what cannot be.

A difference between two runs is sharp only where both were asked the same. Samples are paired by
their id, and whatever else both say about their prompt has to agree: unequal prompts under one
id are an error, never a pair.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Sample: TypeAlias = Mapping[str, Any]
# What a sample says about its prompt; compared where both samples of a pair say it.
PROMPT = ("prompt_hash", "prompt", "text", "expected", "fed", "scored", "tokens")


class Unpairable(ValueError):
    """Samples that bear one name and are not the same question."""


class Outcome(StrEnum):
    """What of a sample is compared, by the sample's own key."""

    correct = "correct"  # right or wrong
    score = "score"  # graded, in [0, 1]
    nll = "nll"  # nats, the sum over "tokens" of them; lower is better


@dataclass(frozen=True)
class Pair:
    """One question, answered twice."""

    ours: Sample
    baseline: Sample
    cluster: Hashable  # equal for answers to one prompt, which err together


@dataclass(frozen=True)
class Matched:
    """The pairs of two runs, and how many samples of either have no partner."""

    pairs: Sequence[Pair]
    leftover: int


@dataclass(frozen=True)
class Clusters:
    """Outcomes summed over the pairs of each prompt; arrays of one entry a prompt.

    ``size`` is the number of answers, or of tokens for ``nll``: sum over size is the mean.
    """

    ours: NDArray[np.float64]
    baseline: NDArray[np.float64]
    size: NDArray[np.float64]


def match(ours: Sequence[Sample], baseline: Sequence[Sample]) -> Matched:
    """Pair the samples of one evaluation by id.

    Raises:
        Unpairable: if an id occurs twice in a run, or its prompt differs between the runs.
    """
    mine, theirs = _by_id(ours), _by_id(baseline)
    common = [name for name in mine if name in theirs]
    for name in common:
        for key in PROMPT:
            if key in mine[name] and key in theirs[name] and mine[name][key] != theirs[name][key]:
                raise Unpairable(f"unequal prompts: {key} of sample {name} differs")
    hashes: dict[str, set[str]] = {}
    for name in common:
        hashes.setdefault(_prompt(mine[name]), set()).add(str(mine[name].get("prompt_hash")))
    pairs = [
        Pair(mine[name], theirs[name], _cluster(mine[name], frozenset(hashes[_prompt(mine[name])])))
        for name in common
    ]
    return Matched(pairs, len(mine) + len(theirs) - 2 * len(common))


def outcome_of(pairs: Sequence[Pair]) -> Outcome | None:
    """The outcome that all samples have; None: there is nothing to compare."""
    for outcome in Outcome:
        if pairs and all(outcome in side for it in pairs for side in (it.ours, it.baseline)):
            return outcome
    return None


def clusters(pairs: Sequence[Pair], outcome: Outcome) -> Clusters:
    """Outcomes by prompt, in the order in which the prompts first occur."""
    sums: dict[Hashable, list[float]] = {}
    for it in pairs:
        entry = sums.setdefault(it.cluster, [0.0, 0.0, 0.0])
        entry[0] += float(it.ours[outcome])
        entry[1] += float(it.baseline[outcome])
        entry[2] += float(it.ours["tokens"]) if outcome is Outcome.nll else 1.0
    columns = np.array(list(sums.values()), dtype=float).reshape(-1, 3).T
    return Clusters(*columns)


def _by_id(samples: Sequence[Sample]) -> dict[str, Sample]:
    found: dict[str, Sample] = {}
    for sample in samples:
        name = str(sample["id"])
        if name in found:
            raise Unpairable(f"sample {name} occurs twice in one run")
        found[name] = sample
    return found


def _prompt(sample: Sample) -> str:
    return str(sample.get("prompt", sample["id"]))


def _cluster(sample: Sample, hashes: frozenset[str]) -> Hashable:
    """Runs of several seeds ask other questions under the same names; their hashes tell."""
    return _prompt(sample), sample.get("text"), hashes
