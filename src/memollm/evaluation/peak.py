"""The most memory that a piece of work held at a time, beyond what was held before it."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import torch

PROCESS = Path("/proc/self")


class Peak:
    """A high-water mark that can be set back: ``restart``, work, ``read``.

    On CUDA it is torch's allocator's, exact. On a CPU it is the resident memory of the process as
    Linux counts it, to a few MiB; freed memory is handed back first, so that work which reuses
    it is not taken to need none. What the C library keeps of memory freed during the work counts
    as held: the process holds it. Other systems keep no mark that can be set back.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._before = 0

    def restart(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            self._before = torch.cuda.memory_allocated(self._device)
            return
        _hand_back()
        try:
            (PROCESS / "clear_refs").write_text("5")  # see proc_pid_clear_refs(5)
            self._before = _resident("VmRSS")
        except OSError:
            self._before = -1

    def read(self) -> int | None:
        """Bytes beyond those at ``restart``; None where the system does not tell."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) - self._before
        return None if self._before < 0 else max(0, _resident("VmHWM") - self._before)


def _hand_back() -> None:
    """Give freed memory back to the system, where the C library is one that keeps it."""
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "malloc_trim"):
        library.malloc_trim(0)


def _resident(line: str) -> int:
    for text in (PROCESS / "status").read_text().splitlines():
        name, _, kibibytes = text.partition(":")
        if name == line:
            return int(kibibytes.split()[0]) * 1024
    raise OSError(f"{PROCESS / 'status'} has no {line}")
