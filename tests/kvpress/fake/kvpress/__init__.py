"""A stand-in for kvpress: its seams as this project uses them, and a few presses to press with.

It patches attention when it is imported, registers hooks that need ``cache_position``, keeps
slots in no order and hides pairs in a list on the attention module, as the real one does.
"""

from __future__ import annotations

import dataclasses
import functools
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import LlamaForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

SUPPORTED_MODELS = (LlamaForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM)


def _patched(function):
    @functools.wraps(function)
    def attend(module, query, key, value, attention_mask, dropout=0.0, **kwargs):
        if query.shape[2] == key.shape[2]:
            module.masked_key_indices = None
        elif getattr(module, "masked_key_indices", None) is not None:
            batch, head, slot = module.masked_key_indices
            hidden = key.new_zeros(key.shape[:3])
            hidden[batch, head, slot] = -torch.inf
            groups = query.shape[1] // key.shape[1]
            attention_mask = hidden.repeat_interleave(groups, dim=1)[:, :, None]
        return function(module, query, key, value, attention_mask, dropout=dropout, **kwargs)

    return attend


for _name, _function in list(ALL_ATTENTION_FUNCTIONS.items()):
    ALL_ATTENTION_FUNCTIONS[_name] = _patched(_function)


@dataclass
class BasePress:
    def post_init_from_model(self, model):
        pass

    def forward_hook(self, module, input, kwargs, output):
        layer = kwargs["past_key_values"].layers[module.layer_idx]
        hidden = kwargs["hidden_states"]
        if kwargs["cache_position"][-1] + 1 == hidden.shape[1]:
            layer.keys, layer.values = self.compress(
                module, hidden, layer.keys, layer.values, output[1], kwargs
            )
        return output

    @contextmanager
    def __call__(self, model):
        self.post_init_from_model(model)
        modules = [layer.self_attn for layer in model.model.layers]
        hooks = [it.register_forward_hook(self.forward_hook, with_kwargs=True) for it in modules]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


@dataclass
class ScorerPress(BasePress):
    compression_ratio: float = 0.0

    def __post_init__(self):
        assert 0 <= self.compression_ratio < 1, "between 0 and 1"

    def compress(self, module, hidden_states, keys, values, attentions, kwargs):
        if self.compression_ratio == 0:
            return keys, values
        scores: Any = self.score(module, hidden_states, keys, values, attentions, kwargs)
        kept = scores.topk(int(keys.shape[2] * (1 - self.compression_ratio)), dim=-1).indices
        kept = kept[..., None].expand(-1, -1, -1, keys.shape[-1])
        return keys.gather(2, kept).contiguous(), values.gather(2, kept).contiguous()


@dataclass
class StreamingLLMPress(ScorerPress):
    n_sink: int = 4

    def score(self, module, hidden_states, keys, values, attentions, kwargs):
        tokens = keys.shape[2]
        assert tokens > self.n_sink, f"more tokens than n_sink={self.n_sink} are needed"
        rank = torch.arange(tokens)
        rank[: self.n_sink] += tokens
        return rank.expand(keys.shape[:3])


@dataclass
class RandomPress(ScorerPress):
    def score(self, module, hidden_states, keys, values, attentions, kwargs):
        return torch.rand(keys.shape[:3])


@dataclass
class SnapKVPress(StreamingLLMPress):
    window_size: int = 64


@dataclass
class ObservedAttentionPress(ScorerPress):
    def score(self, module, hidden_states, keys, values, attentions, kwargs):
        assert attentions is not None, "eager attention is needed"
        return attentions.sum(2).view(*keys.shape[:2], -1, keys.shape[2]).mean(2)


@dataclass
class AdaKVPress(BasePress):
    """Hides the pairs that the press inside it would drop."""

    press: ScorerPress
    alpha_safeguard: float = 0.2

    @property
    def compression_ratio(self):
        return self.press.compression_ratio

    @compression_ratio.setter
    def compression_ratio(self, value):
        self.press.compression_ratio = value

    def compress(self, module, hidden_states, keys, values, attentions, kwargs):
        scores: Any = self.press.score(module, hidden_states, keys, values, attentions, kwargs)
        dropped = keys.shape[2] - int(keys.shape[2] * (1 - self.compression_ratio))
        slots = (-scores).topk(dropped, dim=-1).indices
        batch, head, _ = torch.meshgrid(*map(torch.arange, slots.shape), indexing="ij")
        module.masked_key_indices = (batch.flatten(), head.flatten(), slots.flatten())
        return keys, values


@dataclass
class KeyRerotationPress(AdaKVPress):
    """Compresses as the press inside it does; the fake one does not turn the keys."""

    def compress(self, module, hidden_states, keys, values, attentions, kwargs):
        return self.press.compress(module, hidden_states, keys, values, attentions, kwargs)


@dataclass
class DMSPress(BasePress):
    press: ScorerPress
    threshold: float | None = None
    decoding: bool = False

    @property
    def compression_ratio(self):
        raise AssertionError("known after a forward pass")

    @compression_ratio.setter
    def compression_ratio(self, value):
        raise AttributeError("cannot be set")


@dataclass
class ComposedPress(BasePress):
    presses: list[BasePress] = dataclasses.field(default_factory=list)


@dataclass
class DecodingPress(BasePress):
    base_press: ScorerPress | None = None


@dataclass
class PyramidKVPress(StreamingLLMPress):
    """Keeps fewer tokens from one layer to the next."""

    def compress(self, module, hidden_states, keys, values, attentions, kwargs):
        kept = keys.shape[2] - 3 * module.layer_idx
        return keys[:, :, -kept:].clone(), values[:, :, -kept:].clone()
