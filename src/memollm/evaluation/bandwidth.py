"""How fast this machine reads memory: the limit of a decode step, which reads all weights."""

from __future__ import annotations

import statistics

import torch

from memollm.evaluation.clock import Reading

BYTES = 256 * 2**20  # read at a time; several times any processor's cache
READS = 3


class ReadBenchmark:
    """Sums a large buffer, with the threads and on the device that the model has."""

    def __init__(self, device: torch.device) -> None:
        # Ones: pages of zeros that were never written to are all one page, in the cache.
        self._buffer = torch.ones(BYTES // 4, dtype=torch.float32, device=device)

    def measure(self, now: Reading) -> float:
        """Bytes read per second, the median of ``READS`` reads."""
        seconds = []
        for _ in range(READS):
            began = now()
            self._buffer.sum()
            seconds.append(now() - began)
        return self._buffer.nbytes / statistics.median(seconds)
