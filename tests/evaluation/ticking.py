"""A model in a world of its own time: what everything costs is known, so its speed is, too."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch

from memollm.evaluation.base import MemoryUse
from tests.evaluation.scripted import VOCABULARY, Bytes


@dataclass
class World:
    """A clock that goes forward only when something is done, and a diary of what was."""

    now: float = 0.0
    weather: Callable[[float], float] = lambda now: 1.0  # what a machine makes of a second
    diary: list[tuple[str, list[int]]] = field(default_factory=list)  # who was fed what
    open: int = 0

    def read(self) -> float:
        return self.now

    def spend(self, seconds: float) -> None:
        self.now += seconds * self.weather(self.now)


class TickingSession:
    def __init__(self, subject: Ticking) -> None:
        self.subject, self.seen = subject, 0

    def forward(self, ids, mask=None, last_only=False):
        subject, world = self.subject, self.subject.world
        assert last_only and world.open == 1
        prompt = ids.shape[1] > 1
        world.spend(ids.shape[1] * subject.read if prompt else subject.step(self.seen))
        world.diary.append((subject.name, ids[0].tolist()))
        self.seen += ids.shape[1]
        return torch.zeros(len(ids), 1, VOCABULARY)

    def memory_use(self) -> MemoryUse:
        kept = min(self.seen, self.subject.window)
        return MemoryUse([float(kept), float(self.seen)], self.seen, kept, self.seen)


@dataclass
class Ticking:
    """A subject with a price for everything, in seconds."""

    world: World = field(default_factory=World)
    step: Callable[[int], float] = lambda seen: 0.002  # a decoded token
    read: float = 0.0001  # a token of a prompt
    attaching: float = 0.5
    baseline_step: float = 0.006
    window: int = 40
    name: str = "forgetful"
    max_length: int = 4096
    prefill_chunk: int = 16
    has_memory: bool = True
    weight_bytes: int = 2_000_000
    tokenizer: Bytes = field(default_factory=Bytes)
    device: torch.device = torch.device("cpu")

    @contextlib.contextmanager
    def session(self, earlier: TickingSession | None = None) -> Iterator[TickingSession]:
        self.world.spend(self.attaching)
        self.world.open += 1
        try:
            yield TickingSession(self) if earlier is None else earlier
        finally:
            self.world.open -= 1

    def untouched(self) -> Ticking:
        assert self.has_memory
        return Ticking(
            self.world, lambda seen: self.baseline_step, self.read / 2, 0.0, window=1 << 30,
            name="untouched", has_memory=False, weight_bytes=self.weight_bytes,
        )  # fmt: skip
