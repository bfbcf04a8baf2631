"""Two or more processes for one training: each takes its share of the sequences of a step.

Processes meet once a step, where threads would meet at every operation; on cores that are
shared with other work the difference is large. Every process holds the same model and makes the
same update, so only gradients travel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from memollm.reference.batches import Batch


@dataclass(frozen=True)
class Team:
    """This process among its peers."""

    rank: int = 0
    size: int = 1

    def share(self, batch: Batch) -> Batch:
        """Every ``size``-th sequence of the batch, beginning at ``rank``."""
        own = slice(self.rank, None, self.size)
        return Batch(batch.tokens[own], batch.roles[own], batch.positions)

    def sum_gradients(self, model: nn.Module) -> None:
        """Add up the gradients of all processes, in every one of them."""
        if self.size == 1:
            return
        gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        parts = flat.split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))


@contextmanager
def team(size: int, folder: Path, work: Callable[[Team], None]) -> Iterator[Team]:
    """This process as the first of ``size``; the others do ``work`` until the block ends.

    Args:
        size: processes, >= 1; with one there is nobody to meet.
        folder: where they find one another.
        work: can be pickled.

    Raises:
        RuntimeError: if another one failed.
    """
    if size == 1:
        yield Team()
        return
    meeting = folder / "meeting"
    meeting.unlink(missing_ok=True)  # left behind when a training was killed
    context = torch.multiprocessing.get_context("spawn")
    others = [
        context.Process(target=_join, args=(rank, size, str(meeting), work), daemon=True)
        for rank in range(1, size)
    ]
    for process in others:
        process.start()
    try:
        dist.init_process_group("gloo", f"file://{meeting}", rank=0, world_size=size)
        yield Team(0, size)
        for rank, process in enumerate(others, start=1):
            process.join()
            if process.exitcode:
                raise RuntimeError(f"process {rank} of {size} ended with {process.exitcode}")
    finally:
        for process in others:
            process.kill()
        if dist.is_initialized():
            dist.destroy_process_group()


def _join(rank: int, size: int, meeting: str, work: Callable[[Team], None]) -> None:
    dist.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=size)
    work(Team(rank, size))
    dist.destroy_process_group()
