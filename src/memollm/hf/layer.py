"""The cache layer that Transformers calls: one memory layer in a ``Cache``."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers.cache_utils import CacheLayerMixin

from memollm.hf.remembering import Remembering
from memollm.memory.strength.base import Reads

TAG = "memollm_layer"  # attribute of the keys handed to the attention function: who they belong to


class MemoryLayer(CacheLayerMixin):
    """Hands a layer's keys and values on to its ``Remembering``, in the words of ``Cache``.

    Attention functions are not given the cache. Every model passes the very tensor that
    ``update`` returned to its attention function, so the new keys carry a tag that says whose
    they are; appending, attending and forgetting happen there.
    """

    is_compileable = False  # lengths change at every step; masks are made here
    is_sliding = False
    is_croppable = True

    def __init__(self, remembering: Remembering) -> None:
        super().__init__()
        self.remembering = remembering
        self.valid: Tensor | None = None  # of the forward pass under way: False on pads
        self.candidates = 0  # last tokens of the forward pass that may be taken back
        self.calls = 0  # attention calls of the forward pass under way; see attach
        birth = remembering.memory.birth
        self.reads_inputs = bool(remembering.rule.given) and birth.reads is Reads.inputs
        self.expected: Tensor | None = None  # logits for the next token; see surprise
        self.attached = False  # whether a forward pass under the memory is under way

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        if not self.attached:
            raise RuntimeError(
                "this cache was filled under a memory: it can be used only by the model that the "
                "memory is attached to, inside the `with attach(...)` block"
            )
        self.is_initialized = True
        keys = key_states.view_as(key_states)  # a tag of our own, whoever else holds the tensor
        setattr(keys, TAG, self)
        return keys, value_states

    def get_seq_length(self) -> int:
        """Tokens seen, not stored: positions go on after eviction."""
        return self.remembering.columns

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_max_length(self) -> int:
        return -1

    def activate_past_recording(self) -> None:
        self.record_past = True

    @property
    def record_past(self) -> bool:
        """Whether tokens of the next forward passes may be taken back by ``crop``."""
        return self.remembering.recording

    @record_past.setter
    def record_past(self, value: bool) -> None:
        self.remembering.recording = value

    def crop(self, tokens_to_remove: int) -> None:
        if tokens_to_remove > 0:
            raise ValueError(f"crop({tokens_to_remove}) is not supported: pass a negative number")
        self.remembering.crop(-tokens_to_remove)

    def reorder_cache(self, beam_idx: Tensor) -> None:
        self._select_rows(beam_idx)

    def batch_repeat_interleave(self, repeats: int) -> None:
        self._select_rows(torch.arange(len(self.remembering.seen)).repeat_interleave(repeats))

    def batch_select_indices(self, indices: Tensor) -> None:
        self._select_rows(indices)

    def _select_rows(self, rows: Tensor) -> None:
        self.remembering.select_rows(rows)
        if self.expected is not None:
            self.expected = self.expected[rows.to(self.expected.device)]

    def reset(self) -> None:
        self.expected = None
        self.remembering.reset()

    def offload(self) -> None:
        raise ValueError("cache_implementation='offloaded' is not supported together with a memory")

    def prefetch(self) -> None:
        raise ValueError("cache_implementation='offloaded' is not supported together with a memory")
