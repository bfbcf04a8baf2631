"""One round of a race: several variants of a model read one prompt, then decode in turns.

Machines change speed from one second to the next. Variants that take turns, in random order,
meet the same machine, so that the ratio of their times says something even where the times
themselves do not.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from jaxtyping import Float, Int
from torch import Tensor

from memollm.evaluation.base import MemoryUse, Session, Subject
from memollm.evaluation.clock import Reading
from memollm.evaluation.peak import Peak


@dataclass
class Finish:
    """What one variant did in a round; times in seconds."""

    prefill: float  # the prompt's forward pass
    first_token: float  # from opening a cache (attaching the memory) to the first token's id
    turns: list[list[float]]  # each decoded token, by turn
    peak_bytes: int | None  # most held at a time from opening to the first token; None: unknown
    memory: MemoryUse  # at the end
    dtype: str  # of the logits


def race(
    entrants: Mapping[str, Subject],
    ids: Int[Tensor, "batch tokens"],
    turns: int,
    burst: int,
    rng: random.Random,
    now: Reading,
) -> dict[str, Finish]:
    """Let each entrant read ``ids`` up to the last ``turns * burst`` tokens, and decode those.

    All are fed the text's own tokens, whatever they would have said, so that all do the same
    work. A turn is ``burst`` tokens in a row; the order of a turn is drawn from ``rng``.
    Attaching and detaching the memory between turns is not timed.
    """
    prompt = ids.shape[1] - turns * burst
    peak = Peak(ids.device)
    runners = {name: _Runner(subject, ids) for name, subject in entrants.items()}
    for name in _shuffled(runners, rng):
        runners[name].read(prompt, now, peak)
    for _ in range(turns):
        for name in _shuffled(runners, rng):
            runners[name].decode(burst, now)
    return {name: runner.finish() for name, runner in runners.items()}


@dataclass
class _Runner:
    subject: Subject
    ids: Int[Tensor, "batch tokens"]
    fed: int = 0
    session: Session | None = None
    turns: list[list[float]] = field(default_factory=list)
    prefill: float = 0.0
    first_token: float = 0.0
    peak_bytes: int | None = None
    dtype: str = ""

    def read(self, tokens: int, now: Reading, peak: Peak) -> None:
        peak.restart()
        began = now()
        with self.subject.session() as session:
            opened = now()
            logits = session.forward(self.ids[:, :tokens], last_only=True)
            self.prefill = now() - opened
            _likeliest(logits)
            self.first_token = now() - began
        self.peak_bytes = peak.read()
        self.session, self.fed = session, tokens
        self.dtype = str(logits.dtype).removeprefix("torch.")

    def decode(self, steps: int, now: Reading) -> None:
        seconds = []
        with self.subject.session(self.session) as session:
            for _ in range(steps):
                token = self.ids[:, self.fed : self.fed + 1]
                began = now()
                _likeliest(session.forward(token, last_only=True))
                seconds.append(now() - began)
                self.fed += 1
        self.turns.append(seconds)

    def finish(self) -> Finish:
        assert self.session is not None
        return Finish(
            self.prefill,
            self.first_token,
            self.turns,
            self.peak_bytes,
            self.session.memory_use(),
            self.dtype,
        )


def _likeliest(logits: Float[Tensor, "batch queries vocabulary"]) -> list[int]:
    """The next tokens, on the CPU: choosing them is part of decoding."""
    return logits[:, -1].argmax(dim=-1).tolist()


def _shuffled(names: Mapping[str, object], rng: random.Random) -> list[str]:
    return rng.sample(list(names), len(names))
