"""Which tokens a press kept: it does not say, but keys carry their position."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicCache

from memollm.kvpress.inside.positions import attention_modules


class Trace:
    """The first row's keys before compression, to find those that are left among them."""

    def __init__(self) -> None:
        self._before: dict[int, Tensor] = {}

    @contextmanager
    def watching(self, model: PreTrainedModel, cache: DynamicCache) -> Iterator[None]:
        """Note the keys of the context; entered before the press, so that it comes after."""

        def note(module: Any, args: Any, output: Any) -> None:
            keys: Any = cache.layers[module.layer_idx].keys
            self._before.setdefault(module.layer_idx, keys[0])

        hooks = [it.register_forward_hook(note) for it in attention_modules(model).values()]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def kept(self, cache: DynamicCache, hidden: Mapping[int, Any]) -> list[set[int]]:
        """By layer, the positions that at least one key-value head keeps.

        Empty if keys were changed (merged, rotated anew): then nobody can tell.
        """
        found = []
        for index, before in sorted(self._before.items()):
            layer: Any = cache.layers[index]
            positions = _matching(layer.keys[0], before)
            if positions is None:
                return []
            found.append(_visible(positions, hidden.get(index)))
        return found


def _matching(keys: Tensor, before: Tensor) -> list[list[int]] | None:
    """By head, the position of each slot; None if a key is none of those before."""
    if keys.shape[1] == before.shape[1]:
        return [list(range(keys.shape[1]))] * len(keys)
    found = []
    for kept, whole in zip(keys, before, strict=True):
        position = {row: place for place, row in enumerate(_rows(whole))}
        try:
            found.append([position[row] for row in _rows(kept)])
        except KeyError:
            return None
    return found


def _rows(keys: Tensor) -> list[bytes]:
    """Each key as bytes: equal where it is the same to the last bit."""
    plain = keys.detach().cpu().contiguous()
    return [row.tobytes() for row in plain.view(torch.uint8).numpy()]


def _visible(positions: list[list[int]], concealed: Any) -> set[int]:
    gone = set()
    if concealed is not None:
        batch, head, slot = (it.tolist() for it in concealed)
        gone = {(h, s) for b, h, s in zip(batch, head, slot, strict=True) if b == 0}
    return {
        position
        for head, row in enumerate(positions)
        for slot, position in enumerate(row)
        if (head, slot) not in gone
    }
