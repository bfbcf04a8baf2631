"""Time and bytes of a decoded token, entrant by entrant, taking turns."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Mapping
from typing import Any

import torch
from transformers import PreTrainedModel

from experiments.benchmarks.cells import Cell
from experiments.benchmarks.entrants import Entrant, entrants
from memollm.evaluation.bandwidth import ReadBenchmark
from memollm.evaluation.clock import Reading
from memollm.evaluation.peak import Peak

WARM_UP = 2  # steps


def decode(model: PreTrainedModel, cell: Cell, now: Reading, bandwidth: ReadBenchmark) -> dict:
    """Every entrant's steps, the bytes it reads and the most it holds beside them.

    Returns:
        ``seconds``, ``kv_bytes``, ``step_peak_bytes`` by entrant; ``bandwidth`` in bytes/s.
    """
    runners = entrants(model, cell.context, cell.batch, cell.rounds + WARM_UP + 2)
    ids = torch.full((cell.batch, 1), 17)
    rng = random.Random(cell.id)
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    for turn in range(-WARM_UP, cell.rounds):
        for name in rng.sample(list(runners), len(runners)):
            spent = runners[name].decode(ids, timing(now))
            if turn >= 0:
                seconds[name].append(spent)
    return {
        "seconds": seconds,
        "kv_bytes": {name: it.kv_bytes() for name, it in runners.items()},
        "step_peak_bytes": {name: _peak(it, ids) for name, it in runners.items()},
        "bandwidth": bandwidth.measure(now),
        "weight_bytes": sum(it.nbytes for it in model.parameters()),
    }


def timing(now: Reading) -> Callable[[Callable[[], Any]], float]:
    """A stopwatch on the clock ``now``."""

    def timed(work: Callable[[], Any]) -> float:
        began = now()
        work()
        return now() - began

    return timed


def ratios(seconds: Mapping[str, list[float]], of: str, to: str) -> float:
    """How many times faster ``of`` is than ``to``: the median over turns, paired.

    >>> ratios({"a": [1.0, 2.0], "b": [2.0, 4.0]}, "a", "b")
    2.0
    """
    return statistics.median(b / a for a, b in zip(seconds[of], seconds[to], strict=True))


def _peak(entrant: Entrant, ids: torch.Tensor) -> int | None:
    peak = Peak(torch.device("cpu"))
    peak.restart()
    entrant.decode(ids, timing(lambda: 0.0))
    return peak.read()
