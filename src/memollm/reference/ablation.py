"""Which layer retrieves: what is left when a layer's view of the past is cut."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import Qwen2ForCausalLM


@contextmanager
def nearsighted(model: Qwen2ForCausalLM, layers: list[int], window: int) -> Iterator[None]:
    """Within the block, ``layers`` attend to the last ``window`` tokens only.

    What a window of that size would forget, these layers have forgotten; the others see all.
    """

    def narrow(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        states: Tensor = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
        places = torch.arange(states.shape[1], device=states.device)
        distance = places[:, None] - places
        seen = (distance >= 0) & (distance < window)
        return args, {**kwargs, "attention_mask": seen[None, None]}

    hooks = [
        model.get_submodule(f"model.layers.{layer}.self_attn").register_forward_pre_hook(
            narrow, with_kwargs=True
        )
        for layer in layers
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
