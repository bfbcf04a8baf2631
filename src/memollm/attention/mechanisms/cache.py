"""What is kept of a text that is read in parts.

Most mechanisms look at keys and values again for every new token, and keep these
(``PairCache``). Some need only sums over them; their cache stands beside them.
"""

from __future__ import annotations

import abc
from collections.abc import Callable

import torch
from torch import Tensor, nn

from memollm.attention.mechanisms.scope import Scope

Attend = Callable[[Tensor, Tensor, Tensor, Scope | None, nn.Module | None], Tensor]

LEAST_ROOM = 64  # tokens


class Cache(abc.ABC):
    """One layer's memory of what it has read."""

    tokens: int = 0  # read so far, pads included

    @abc.abstractmethod
    def attend(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        scope: Scope | None = None,
        weights: nn.Module | None = None,
    ) -> Tensor:
        """Take in the next tokens; their outputs, from all tokens up to each.

        Args:
            queries: (batch, heads, new, dim).
            keys: (batch, kv_heads, new, dim).
            values: (batch, kv_heads, new, value_dim).
            scope: with a mask or padding over all tokens, cached ones first.
            weights: as for ``Mechanism.attend``.
        """


class PairCache(Cache):
    """All keys and values, in slabs that double when they are full."""

    def __init__(self, mechanism: Attend) -> None:
        self._mechanism = mechanism
        self._slabs: list[Tensor] = []

    def attend(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        scope: Scope | None = None,
        weights: nn.Module | None = None,
    ) -> Tensor:
        keys, values = self.append(keys, values)
        return self._mechanism(queries, keys, values, scope, weights)

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values, the new ones last: views, which the next call leaves valid."""
        start, stop = self.tokens, self.tokens + keys.shape[2]
        if not self._slabs or stop > self._slabs[0].shape[2]:
            self._grow(keys, values, stop)
        for slab, new in zip(self._slabs, (keys, values), strict=True):
            slab[:, :, start:stop] = new.detach()
        self.tokens = stop
        held = tuple(slab[:, :, :stop] for slab in self._slabs)
        return held[0], held[1]

    def _grow(self, keys: Tensor, values: Tensor, needed: int) -> None:
        room = max(LEAST_ROOM, 2 * self.tokens, needed)
        slabs = []
        for at, new in enumerate((keys, values)):
            slab = torch.empty(
                *new.shape[:2], room, new.shape[3], dtype=new.dtype, device=new.device
            )
            if self._slabs:
                slab[:, :, : self.tokens] = self._slabs[at][:, :, : self.tokens]
            slabs.append(slab)
        self._slabs = slabs
