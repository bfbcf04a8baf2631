"""How much memory a piece of work holds at most, counted tensor by tensor."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def most_held(work: Callable[[], object], device: torch.device) -> int:
    """Bytes that ``work`` holds at most, beyond what is there before.

    On CUDA they are torch's allocator's. Elsewhere, those of all tensors that are alive at a time,
    the same in every run; what a kernel needs inside, some rows of scores, is not seen.

    >>> work = lambda: torch.ones(1000).add(1).sum()  # two of 4000 bytes at a time
    >>> most_held(work, torch.device("cpu"))
    8000
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with _Held() as held:
        work()
    return held.most


class _Held(TorchDispatchMode):
    """Counts the storages that operations make, until they are freed."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 0
        self._now = 0
        self._alive: dict[int, weakref.ref] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        for leaf in tree_leaves((args, kwargs)):
            self._note(leaf, made=False)  # an unknown one was there before
        result = func(*args, **kwargs)
        for leaf in tree_leaves(result):
            self._note(leaf, made=True)
        return result

    def _note(self, leaf: object, made: bool) -> None:
        if not isinstance(leaf, Tensor):
            return
        storage = leaf.untyped_storage()
        key, size = storage._cdata, storage.nbytes() if made else 0
        if key in self._alive:
            return

        def freed(_: weakref.ref) -> None:
            self._now -= size
            del self._alive[key]

        self._alive[key] = weakref.ref(storage, freed)
        self._now += size
        self.most = max(self.most, self._now)
