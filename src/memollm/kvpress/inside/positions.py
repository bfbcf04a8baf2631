"""Telling presses where tokens stand, which Transformers no longer does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers import PreTrainedModel


def attention_modules(model: PreTrainedModel) -> dict[int, Any]:
    """The attention module of each layer, found where kvpress looks for it."""
    layers: Any = model.model.layers
    return {layer.self_attn.layer_idx: layer.self_attn for layer in layers}


@contextmanager
def with_cache_positions(model: PreTrainedModel) -> Iterator[None]:
    """Pass ``cache_position`` to attention modules while the block lasts.

    Presses read it there to tell prefill from decoding. Transformers has not passed it since 5.4,
    and every press of kvpress 0.5 ends in a KeyError without it.
    """

    def add(module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if kwargs.get("cache_position") is None:
            kwargs["cache_position"] = kwargs["position_ids"][0]
        return args, kwargs

    hooks = [
        module.register_forward_pre_hook(add, with_kwargs=True)
        for module in attention_modules(model).values()
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
