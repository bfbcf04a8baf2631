"""What a compressed cache holds in fact: tokens that are still seen, bytes that are still taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers.cache_utils import DynamicCache, DynamicLayer

from memollm.evaluation.base import MemoryUse


def held(cache: DynamicCache, hidden: Mapping[int, Any], seen: int) -> MemoryUse:
    """Count, whatever a press says of itself.

    A pair behind a fake key is not kept, and its bytes are held all the same, with those of the
    indices that hide it: such a press saves nothing. A view counts as all that it keeps alive.

    Args:
        cache: after compression.
        hidden: by layer, the indices of pairs behind fake keys (batch, head, slot), or None.
        seen: tokens that were fed, per row.
    """
    kept, ordinary = [], 0
    taken: dict[int, int] = {}  # bytes by address: two views of one storage count once
    for index, layer in enumerate(cache.layers):
        assert isinstance(layer, DynamicLayer)
        keys, values = layer.keys, layer.values
        assert keys is not None and values is not None
        batch, heads, slots, _ = keys.shape
        concealed = hidden.get(index)
        behind = 0 if concealed is None else len(concealed[0]) / (batch * heads)
        kept.append(float(slots - behind))
        ordinary += (keys.nbytes + values.nbytes) // slots * seen
        for tensor in (keys, values, *(concealed or ())):
            storage = tensor.untyped_storage()
            taken[storage.data_ptr()] = storage.nbytes()
    return MemoryUse(kept, seen, sum(taken.values()), ordinary)
