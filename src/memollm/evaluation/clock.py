"""Clocks for timing a model, and the quiet in which to do it."""

from __future__ import annotations

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

    wall = "wall"  # what a user waits for
    cpu = "cpu"  # what the process's threads work; neighbours steal none of it


def reading(clock: Clock, device: torch.device) -> Reading:
    """How to read ``clock`` for work on ``device``."""
    now = time.perf_counter if clock is Clock.wall else time.process_time
    if device.type != "cuda":
        return now

    def when_done() -> float:
        torch.cuda.synchronize(device)
        return now()

    return when_done


@contextmanager
def quiet(threads: int | None) -> Iterator[None]:
    """No garbage collection inside, and torch on ``threads`` threads (None: as many as it has)."""
    collecting, before = gc.isenabled(), torch.get_num_threads()
    gc.collect()
    gc.disable()
    try:
        if threads is not None:
            torch.set_num_threads(threads)
        yield
    finally:
        torch.set_num_threads(before)
        if collecting:
            gc.enable()
