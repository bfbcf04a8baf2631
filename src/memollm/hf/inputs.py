"""What attention layers are given: the hidden states that gates read.

Attention functions are handed queries, keys and values, not what these were made of. A hook on each
attention module notes its input just before; the module itself carries it to the function.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from memollm.hf.families import UnsupportedModelError

INPUT = "memollm_input"  # attribute of an attention module while its forward lasts


@contextmanager
def watching_inputs(model: nn.Module, layers: Collection[int]) -> Iterator[list[nn.Module]]:
    """Note what the attention modules of ``layers`` are given, while the block lasts; those."""
    modules = [it for it in _attention_modules(model) if it.layer_idx in layers]
    hooks = [it.register_forward_pre_hook(_note, with_kwargs=True) for it in modules]
    try:
        yield modules
    finally:
        for hook in hooks:
            hook.remove()
        for module in modules:
            module.__dict__.pop(INPUT, None)


def given_inputs(module: nn.Module) -> Tensor:
    """What an attention module was given, (batch, tokens, width); told once.

    Raises:
        UnsupportedModelError: if that was not noted.
    """
    given = module.__dict__.pop(INPUT, None)
    if given is None:
        raise UnsupportedModelError(
            f"{type(module).__name__} does not take hidden_states as a module with a layer_idx of "
            "its own, so that gates cannot read what the layer is given"
        )
    return given


def _attention_modules(model: nn.Module) -> list[nn.Module]:
    """The innermost modules that know which layer they are."""
    numbered = [it for it in model.modules() if isinstance(getattr(it, "layer_idx", None), int)]
    inside = {id(part): it for it in numbered for part in it.modules() if part is not it}
    outer = {id(inside[id(it)]) for it in numbered if id(it) in inside}
    return [it for it in numbered if id(it) not in outer]


def _note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    module.__dict__[INPUT] = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
