"""The cache of a layer whose mechanism keeps what it needs in its own way."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import CacheLayerMixin

from memollm.attention.mechanisms.base import Mechanism
from memollm.attention.mechanisms.cache import Cache
from memollm.attention.mechanisms.scope import Scope

MECHANISM = "memollm_mechanism"  # what layers of this kind are called in ``config.layer_types``


class MechanismLayer(CacheLayerMixin):
    """Hands queries, keys and values on to the cache of a mechanism.

    Transformers makes it wherever ``layer_types`` says ``MECHANISM``. No memory can be attached to
    it: it is the mechanism that decides what is kept.
    """

    _layer_type = MECHANISM
    is_sliding = False

    def __init__(self) -> None:
        super().__init__()
        self._cache: Cache | None = None

    def attend(
        self,
        mechanism: Mechanism,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        scope: Scope,
        weights: nn.Module | None,
    ) -> Tensor:
        """Take in new tokens, and give their outputs (see ``Cache.attend``)."""
        if self._cache is None:
            self._cache, self.is_initialized = mechanism.cache(), True
        return self._cache.attend(queries, keys, values, scope, weights)

    def get_seq_length(self) -> int:
        return 0 if self._cache is None else self._cache.tokens

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_max_length(self) -> int:
        return -1

    def reset(self) -> None:
        self._cache, self.is_initialized = None, False

    def nbytes(self) -> int:
        """Bytes of what is kept of the tokens so far; room for later ones does not count."""
        tokens = self.get_seq_length()
        return sum(_used(tensor, tokens) for tensor in _tensors(self._cache))

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        raise TypeError("a mechanism's cache takes its tokens by attend")

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        raise TypeError("a mechanism's cache takes its tokens by attend")

    def reorder_cache(self, beam_idx: Tensor) -> None:
        self._refuse("beam search")

    def batch_repeat_interleave(self, repeats: int) -> None:
        self._refuse("several sequences of one prompt")

    def batch_select_indices(self, indices: Tensor) -> None:
        self._refuse("choosing rows of a batch")

    def crop(self, tokens_to_remove: int) -> None:
        if tokens_to_remove:
            self._refuse("assisted decoding, which takes tokens back")

    def _refuse(self, what: str) -> None:
        raise NotImplementedError(
            f"{what} is not supported by a scratch model with layers other than full: their "
            "mechanisms' caches cannot be rearranged"
        )


def _tensors(value: Any) -> Iterable[Tensor]:
    """All tensors of a cache, whatever it is made of; weights of the model are none of it."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, (Cache,)) or type(value).__module__.startswith("memollm.nsa"):
        for item in vars(value).values():
            yield from _tensors(item)


def _used(tensor: Tensor, tokens: int) -> int:
    slots = tensor.shape[2] if tensor.dim() == 4 else 0
    share = min(tokens / slots, 1.0) if slots else 1.0
    return int(tensor.numel() * tensor.element_size() * share)
