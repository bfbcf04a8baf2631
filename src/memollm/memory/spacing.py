"""The spacing effect, in the formula: does massed or spaced recall keep a token longer?

People remember longer what they repeat at intervals than what they repeat at once (Ebbinghaus,
1885; Cepeda et al., 2006, Psychological Bulletin 132(3), 354-380). One token is recalled so many
times within a span of queries, in three arrangements, and nobody else is in the cache:

    massed early    at the first queries after its insertion
    spaced          evenly over the span, the last time at its end
    massed late     at the last queries of the span

Spaced and massed late end alike, so that between them only spacing differs; spaced and massed
early begin alike, and differ in how long ago the last recall was, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from memollm.memory.ebbinghaus import Memory
from memollm.memory.oracle import Oracle, Token


@dataclass(frozen=True)
class Outcome:
    """What an arrangement of recalls comes to; numbers of tokens count from the insertion."""

    arrangement: str
    recalls: int
    strength: float  # S at the test; at its death, if the token did not live to see it
    retention: float  # R at the test; 0 if it is forgotten
    forgotten_at: float  # tokens seen after it when it is forgotten, if nobody recalls it again
    missed: int  # recalls that came too late


def arrangements(recalls: int, span: int) -> dict[str, list[int]]:
    """The queries that recall, 1 being the first after the insertion.

    >>> arrangements(2, 10)
    {'massed early': [1, 2], 'spaced': [5, 10], 'massed late': [9, 10]}

    Raises:
        ValueError: if the span has too few queries.
    """
    if not 1 <= recalls <= span:
        raise ValueError(f"recalls={recalls} is not allowed, a span of {span} queries has 1 to it")
    return {
        "massed early": list(range(1, recalls + 1)),
        "spaced": [round(k * span / recalls) for k in range(1, recalls + 1)],
        "massed late": list(range(span - recalls + 1, span + 1)),
    }


def spacing(
    memory: Memory, threshold: float, recalls: int, span: int, delay: int, weight: float
) -> Iterator[Outcome]:
    """Each arrangement of ``recalls``, tested ``delay`` queries after the span.

    Args:
        memory: strength, time step, curve and rehearsal.
        threshold: retention below which the token is forgotten.
        recalls: how many times it is attended to.
        span: queries within which that happens.
        delay: queries after them, before the test.
        weight: attention that it is given each time; none in between.
    """
    for name, times in arrangements(recalls, span).items():
        layer = Oracle(
            memory.strength, memory.time_step, memory.reinforcement, memory.recall_threshold,
            threshold, sinks=0, recent=0,
            retention=lambda age, strength: _retention(memory, age, strength),
            by_recall=memory.retention.by_recall, tokens=[Token(0, [], [], memory.strength)],
        )  # fmt: skip
        (token,) = layer.tokens
        died = missed = 0
        for query in range(1, span + delay + 1):
            if died:
                missed += query in times
                continue
            layer.attend({0: weight if query in times else 0.0}, query)
            died = query if layer.ballot() else 0
        left = token.strength * memory.retention.lifetime(threshold) / memory.time_step
        lives = float(died) or span + delay - token.steps + left
        retention = 0.0 if died else layer.left(token)
        yield Outcome(name, recalls, token.strength, retention, lives, missed)


def _retention(memory: Memory, age: float, strength: float) -> float:
    scalars = (torch.tensor(it, dtype=torch.float64) for it in (age, strength))
    return float(memory.retention.retention(*scalars))
