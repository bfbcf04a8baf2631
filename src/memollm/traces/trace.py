"""A trace: what a memory knew of each token of one text, step by step.

A step is what a memory decides after: a chunk of the prompt, or a decoded token. A trace is plain
numbers, so that whoever reads it needs neither torch nor the model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

MAX_TOKENS = 65_535  # of a traced text: positions are kept in 16 bits
KEPT = 0  # in ``forgotten_at``: the token is not forgotten


@dataclass(frozen=True)
class Trace:
    """One text under one memory.

    ``received`` is the attention weight, mean over query heads, that the queries of a step gave
    a token, added up over them. What a token gives itself is left out: a token is rehearsed by
    later ones alone. ``strength`` and ``recalled`` are None under a policy that knows no
    retention. Of a token that is gone they say what was known when it went.
    """

    tokens: Sequence[str]  # the text, token by token
    prompt_tokens: int  # of these the first; the others were generated
    seen: Int[np.ndarray, " steps"]  # tokens read when each step had ended
    received: Float[np.ndarray, "layers steps tokens"]  # since the step before
    forgotten_at: Int[np.ndarray, "layers tokens"]  # tokens read when each was forgotten
    strength: Float[np.ndarray, "layers steps tokens"] | None = None  # S, in units of time
    recalled: Int[np.ndarray, "layers steps tokens"] | None = None  # position of the last recall
    layers: Sequence[str] = ()  # index in the model of each memory layer; 3.1: head 1 of layer 3
    thresholds: Sequence[float | None] = ()  # of each; None: it moves, or a budget decides
    curve: Mapping[str, Sequence[float]] | None = None  # "age" in units of S, and "retention" there
    lifetimes: Sequence[float | None] = ()  # age at which each threshold is met, in units of S
    time_step: float = 1.0  # time that passes with each token
    initial_strength: float | None = None  # S on insertion; None: another for each token
    sinks: int = 0  # first tokens, protected
    recent: int = 0  # newest tokens, protected
    settings: Mapping[str, str] = field(default_factory=dict)  # in words, for who reads it
    facts: Mapping[str, str] = field(default_factory=dict)  # of the example: question, answer, ...
    evidence: Sequence[tuple[int, int]] = ()  # first, past last token of what the answer needs
    steps_taken: int = 0  # by the memory; more than ``seen`` has where some were merged
    still_seen: str = ""  # how a forgotten token is seen nevertheless; empty: it is not

    @property
    def size(self) -> int:
        """Numbers in the largest arrays."""
        return int(self.received.size)

    def retention(self) -> Float[np.ndarray, "layers steps tokens"] | None:
        """R of each token at each step, from the tabulated curve; nan before it was read."""
        if self.strength is None or self.recalled is None or self.curve is None:
            return None
        age = (self.seen[None, :, None] - 1 - self.recalled) * self.time_step
        with np.errstate(divide="ignore", invalid="ignore"):
            inside = np.interp(age / self.strength, self.curve["age"], self.curve["retention"])
        read = np.arange(len(self.tokens)) < self.seen[:, None]
        return np.where(read, inside, np.nan)


def merged(trace: Trace) -> Trace:
    """Every two steps made one, counted from the last: its state, the attention of both.

    The last step stays the last; of an odd number the first stays as it is.
    """
    count = len(trace.seen)
    kept = np.arange(count - 1, -1, -2)[::-1]
    starts = np.maximum(kept - 1, 0)
    starts[0] = 0
    return dataclasses.replace(
        trace,
        seen=trace.seen[kept],
        received=np.add.reduceat(trace.received, starts, axis=1),
        strength=None if trace.strength is None else trace.strength[:, kept],
        recalled=None if trace.recalled is None else trace.recalled[:, kept],
    )
