"""Clocks for timing a model, and the quiet in which to do it."""

from __future__ import annotations

import functools
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TypeAlias

import torch

Reading: TypeAlias = Callable[[], float]  # seconds since some moment, once the device is done


class Clock(StrEnum):
    """What counts as time."""

    auto = "auto"  # cpu where one thread of a processor does all the work, else wall
    wall = "wall"  # what a user waits for
    cpu = "cpu"  # what the processor works; what neighbours take of it does not count

    def on(self, device: torch.device, threads: int) -> Clock:
        """The clock that is meant for ``threads`` of ``device``."""
        if self is not Clock.auto:
            return self
        return Clock.cpu if device.type == "cpu" and threads == 1 else Clock.wall


def reading(clock: Clock, device: torch.device, threads: int) -> Reading:
    """How to read ``clock`` for work on ``threads`` of ``device``."""
    if device.type == "cuda":
        return functools.partial(_when_done, device)
    if clock.on(device, threads) is Clock.wall:
        return time.perf_counter
    # The calling thread's own time leaves out progress bars and trackers.
    return time.thread_time if threads == 1 else time.process_time


def _when_done(device: torch.device) -> float:
    torch.cuda.synchronize(device)
    return time.perf_counter()


@contextmanager
def quiet(threads: int | None) -> Iterator[int]:
    """No garbage collection inside, and torch on ``threads`` threads (None: as many as it has).

    Yields how many those are.
    """
    collecting, before = gc.isenabled(), torch.get_num_threads()
    gc.disable()
    try:
        if threads is not None:
            torch.set_num_threads(threads)
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
        if collecting:
            gc.enable()
