"""What kvpress does to attention, and how it is undone and guarded.

Importing kvpress wraps every attention function that Transformers knows at that moment, for the
whole process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

import kvpress  # pyright: ignore[reportMissingImports] - an optional extra
from memollm.kvpress import inside
from memollm.kvpress.inside.positions import attention_modules

if inside.ORIGINAL is None:
    raise ImportError("kvpress was imported before: attention as it was is no longer known")
ORIGINAL = inside.ORIGINAL
PATCHED = {name: ALL_ATTENTION_FUNCTIONS[name] for name in ORIGINAL}


def require_supported(model: type[PreTrainedModel]) -> None:
    """Refuse architectures that kvpress does not know.

    It goes on with a warning there, and computes queries as Llama does: wrong without an error
    where a model normalises or scales them.

    Raises:
        ValueError: naming those that it knows.
    """
    known = kvpress.SUPPORTED_MODELS
    if not issubclass(model, known):
        raise ValueError(
            f"{model.__name__} is not allowed with mode=kvpress, which knows "
            f"{', '.join(sorted(it.__name__ for it in known))}"
        )


@contextmanager
def unpatched() -> Iterator[None]:
    """Attention as it was before kvpress was imported."""
    _set(ORIGINAL)
    try:
        yield
    finally:
        _set(PATCHED)


def hides(model: PreTrainedModel) -> bool:
    """Whether the press has hidden pairs behind fake keys, for decoding.

    Raises:
        ValueError: if the model's attention would not notice them.
    """
    hidden = any(indices is not None for indices in hidden_pairs(model).values())
    name = model.config._attn_implementation
    if hidden and name not in PATCHED:
        raise ValueError(
            f"this press hides pairs from attention, and attn_implementation={name!r} would see "
            f"them all the same: nothing would be forgotten. Choose from {', '.join(PATCHED)}"
        )
    return hidden


def hidden_pairs(model: PreTrainedModel) -> dict[int, Any]:
    """By layer: the (batch, head, slot) indices that are hidden behind fake keys, or None."""
    return {
        index: getattr(module, "masked_key_indices", None)
        for index, module in attention_modules(model).items()
    }


def hide_pairs(model: PreTrainedModel, indices: Mapping[int, Any]) -> None:
    """Set what ``hidden_pairs`` returns: it is a cache's, but kvpress keeps it in the model."""
    modules = attention_modules(model)
    for index, found in indices.items():
        modules[index].masked_key_indices = found


@contextmanager
def with_attention(model: PreTrainedModel, name: str | None) -> Iterator[None]:
    """Another attention implementation while the block lasts; None: the model's own."""
    before: Any = model.config._attn_implementation
    model.set_attn_implementation(name or before)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def _set(functions: Mapping[str, Any]) -> None:
    for name, function in functions.items():
        ALL_ATTENTION_FUNCTIONS[name] = function
