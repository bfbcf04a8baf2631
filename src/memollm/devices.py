"""Devices of a machine, and taking turns at them.

A timing on a device where another cell works measures both. So whoever times has the device
alone; the others share it. Locks are files of this machine and this user, and end with the
process that holds them, however it ends.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    import torch

FOLDER = Path(tempfile.gettempdir()) / f"memollm-{os.getuid()}"
_held: list[TextIO] = []  # the GPU of this process, until it ends


@contextmanager
def turn(device: str, alone: bool, waits: Callable[[], None]) -> Iterator[None]:
    """Work on ``device``: beside others, or ``alone``.

    Args:
        device: its name on this machine (``name``).
        alone: whether nobody else may work on it meanwhile.
        waits: called if that is not possible at once.
    """
    with _file(f"{device}.gate") as gate, _file(f"{device}.lock") as lock:
        # Who waits to be alone holds the gate meanwhile, so that no others come in before him.
        _take(gate, fcntl.LOCK_EX, waits)
        _take(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH, waits)
        fcntl.flock(gate, fcntl.LOCK_UN)
        yield


def name(device: torch.device) -> str:
    """One name for a device, whichever of its machine's GPUs a process can see."""
    import torch

    if device.type != "cuda":
        return device.type
    return f"cuda-{torch.cuda.get_device_properties(device).uuid}"


def take_gpu() -> str | None:
    """Choose a GPU for this process, one of few others, where it could use several.

    Sets CUDA_VISIBLE_DEVICES, so it has to be called before CUDA is used. None: no choice.
    """
    import torch

    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    visible = given.split(",")[:count] if given else [str(index) for index in range(count)]
    if len(visible) < 2 or _held:
        return None
    for place, gpu in ((n, gpu) for n in itertools.count() for gpu in visible):
        file = _file(f"gpu-{gpu}.worker-{place}")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            continue
        _held.append(file)
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
        return gpu
    raise AssertionError("there is always one more place")


def _take(file: TextIO, how: int, waits: Callable[[], None]) -> None:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        waits()
        fcntl.flock(file, how)


def _file(name: str) -> TextIO:
    FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)
    return (FOLDER / name).open("a")
