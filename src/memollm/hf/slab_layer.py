"""The cache layer of attention layers without memory, while a memory is attached to others."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers.cache_utils import DynamicLayer

from memollm.cache.slab import Slab

COMPILED = "memollm_compiled"  # attribute of the keys handed to the attention function


class SlabLayer(DynamicLayer):
    """Transformers' dynamic layer on a slab: a decoded token does not copy all those before it."""

    def __init__(self, compiled: bool = True) -> None:
        """``compiled``: whether decoded tokens may go through the compiled kernel."""
        super().__init__()
        self._compiled = compiled
        self._slab = Slab()

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.dtype, self.device = key_states.dtype, key_states.device
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self._slab.append(keys=key_states, values=value_states)
        return self._show()

    def get_seq_length(self) -> int:
        return self._slab.length

    def reset(self) -> None:
        super().reset()
        self._slab = Slab()

    def crop(self, tokens_to_remove: int) -> None:
        if tokens_to_remove > 0:
            raise ValueError(f"crop({tokens_to_remove}) is not supported: pass a negative number")
        if self.is_initialized:
            self._slab.truncate(self._slab.length + tokens_to_remove)
            self._show()

    def reorder_cache(self, beam_idx: Tensor) -> None:
        self.batch_select_indices(beam_idx)

    def batch_repeat_interleave(self, repeats: int) -> None:
        if self.is_initialized:
            rows = torch.arange(len(self._slab["keys"]))
            self.batch_select_indices(rows.repeat_interleave(repeats))

    def batch_select_indices(self, indices: Tensor) -> None:
        if self.is_initialized:
            self._slab.select_rows(indices)
            self._show()

    def _show(self) -> tuple[Tensor, Tensor]:
        self.keys, self.values = self._slab["keys"], self._slab["values"]
        setattr(self.keys, COMPILED, self._compiled)
        return self.keys, self.values
