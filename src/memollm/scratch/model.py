"""A small causal language model whose layers each take an attention mechanism.

All but attention is Qwen2's. A layer whose mechanism is ``full`` is Qwen2's altogether: it goes
through Transformers' attention interface, keeps an ordinary cache and can be given a memory. The
others keep what their mechanism keeps, and no memory can be attached to them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, Qwen2ForCausalLM, Qwen2Model, Qwen2PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache
from transformers.masking_utils import create_causal_mask
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.models.qwen2.modeling_qwen2 import apply_rotary_pos_emb

from memollm.attention.mechanisms.base import HeadShape
from memollm.attention.mechanisms.scope import Scope
from memollm.scratch.cache import MECHANISM, MechanismLayer
from memollm.scratch.config import ScratchConfig
from memollm.scratch.mechanisms import FULL, build


class TokenMixer(nn.Module):
    """Projections as Qwen2's, rotated by position, and a mechanism between them."""

    def __init__(self, config: ScratchConfig, layer: int) -> None:
        super().__init__()
        assert config.attention is not None and config.mechanisms is not None
        name = config.attention[layer]
        self.layer_idx = layer
        self.mechanism = build(name, config.mechanisms.get(name, {}))
        heads, dim = config.num_attention_heads, _head_dim(config)
        self.kv_heads = self.mechanism.key_value_heads(heads, config.num_key_value_heads)
        self.head_dim = dim
        self.q_proj = nn.Linear(config.hidden_size, heads * dim)
        self.k_proj = nn.Linear(config.hidden_size, self.kv_heads * dim)
        self.v_proj = nn.Linear(config.hidden_size, self.kv_heads * dim)
        self.o_proj = nn.Linear(heads * dim, config.hidden_size, bias=False)
        shape = HeadShape(config.hidden_size, heads, self.kv_heads, dim)
        self.weights = self.mechanism.weights(shape)

    def forward(
        self,
        hidden_states: Tensor,
        position_embeddings: tuple[Tensor, Tensor],
        attention_mask: Tensor | None,
        past_key_values: Cache | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, None]:
        """Attention of (batch, tokens, hidden).

        Args:
            hidden_states: of the new tokens.
            position_embeddings: cosines and sines of their positions.
            attention_mask: (batch, all tokens), False on pads; None: there are none.
            past_key_values: the cache, if one is kept.
            kwargs: what other attention layers read.
        """
        batch, tokens, _ = hidden_states.shape
        shape = (batch, tokens, -1, self.head_dim)
        queries = self.q_proj(hidden_states).view(shape).transpose(1, 2)
        keys = self.k_proj(hidden_states).view(shape).transpose(1, 2)
        values = self.v_proj(hidden_states).view(shape).transpose(1, 2)
        queries, keys = apply_rotary_pos_emb(queries, keys, *position_embeddings)
        # Under autocast the rotation, in float32, leaves them wider than values.
        queries, keys = queries.to(values.dtype), keys.to(values.dtype)
        scope = Scope(padding=attention_mask, hidden=hidden_states)
        if past_key_values is None:
            out = self.mechanism.attend(queries, keys, values, scope, self.weights)
        else:
            layer = past_key_values.layers[self.layer_idx]
            if not isinstance(layer, MechanismLayer):
                raise ValueError(
                    f"layer {self.layer_idx} of past_key_values is a {type(layer).__name__}: give "
                    "a DynamicCache(config=model.config), or leave cache_implementation out"
                )
            out = layer.attend(self.mechanism, queries, keys, values, scope, self.weights)
        return self.o_proj(out.transpose(1, 2).reshape(batch, tokens, -1)), None


class ScratchModel(Qwen2Model):
    """Qwen2's layers, with other attention where the configuration says so."""

    config_class = ScratchConfig

    def __init__(self, config: ScratchConfig) -> None:
        super().__init__(config)
        for number, name in enumerate(config.attention or ()):
            if name != FULL:
                layer: Any = self.layers[number]
                layer.self_attn = TokenMixer(config, number)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        embeddings = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        use_cache = (
            (self.config.use_cache and not self.training) if use_cache is None else use_cache
        )
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        if position_ids is None:
            seen = past_key_values.get_seq_length() if past_key_values is not None else 0
            position_ids = torch.arange(embeddings.shape[1], device=embeddings.device) + seen
            position_ids = position_ids[None]
        masks = {
            "full_attention": create_causal_mask(
                config=self.config,
                inputs_embeds=embeddings,
                attention_mask=attention_mask,
                past_key_values=past_key_values,
                position_ids=position_ids,
            ),
            MECHANISM: _padding(attention_mask),
        }
        # The parent takes masks that are made, one for each type of layer.
        return super().forward(
            attention_mask=masks,  # pyright: ignore[reportArgumentType]
            position_ids=position_ids,  # pyright: ignore[reportArgumentType]
            past_key_values=past_key_values,
            inputs_embeds=embeddings,  # pyright: ignore[reportArgumentType]
            use_cache=use_cache,
            **kwargs,
        )


class ScratchForCausalLM(Qwen2ForCausalLM):
    """The model with its head."""

    config_class = ScratchConfig

    def __init__(self, config: ScratchConfig) -> None:
        Qwen2PreTrainedModel.__init__(self, config)
        self.model = ScratchModel(config)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()


def _padding(mask: Tensor | None) -> Tensor | None:
    """(batch, tokens), True on tokens; None where there are no pads."""
    if mask is None or bool(mask.all()):
        return None
    if mask.dim() != 2:
        raise ValueError(
            f"an attention_mask of {mask.dim()} dimensions is not supported by a scratch model: "
            "pass the 2-dimensional padding mask (batch, tokens)"
        )
    return mask.bool()


def _head_dim(config: ScratchConfig) -> int:
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


AutoModelForCausalLM.register(ScratchConfig, ScratchForCausalLM)
