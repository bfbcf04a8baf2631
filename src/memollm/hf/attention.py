"""The attention function that Transformers calls, for layers with memory and for the others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from memollm.attention.kernel import attend
from memollm.attention.plain import attend_plainly, is_quicker
from memollm.attention.view import View
from memollm.hf.families import UnsupportedModelError
from memollm.hf.inputs import given_inputs
from memollm.hf.layer import TAG, MemoryLayer
from memollm.hf.slab_layer import COMPILED

NAME = "memollm"


def memory_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attention of one layer; the keys say whether it has a memory.

    Args:
        module: the attention layer.
        query: (batch, heads, queries, dim).
        key: (batch, kv_heads, pairs, dim); of a memory layer only the new ones.
        value: as ``key``.
        attention_mask: True where a query sees a column; None: causal, no pads.
        dropout: must be 0, memories are for inference.
        scaling: factor on the logits; default dim ** -0.5.
        softcap: bound of the logits (Gemma 2).
        s_aux: learned attention sinks, a logit per head (gpt-oss).
        kwargs: ``output_attentions``; ``position_bias`` is refused.

    Returns:
        The output (batch, queries, heads, value_dim), and the weights where they were asked for.
    """
    layer: MemoryLayer | None = getattr(key, TAG, None)
    if kwargs.get("position_bias") is not None:
        raise ValueError("position_bias is not supported under a memory")
    wants_weights = bool(kwargs.get("output_attentions"))
    view = View(
        scaling=query.shape[-1] ** -0.5 if scaling is None else scaling,
        softcap=softcap,
        sink_logits=s_aux,
    )
    if layer is None:
        if softcap is None and s_aux is None and not wants_weights:
            given = kwargs.get("is_causal")
            if is_quicker(query) and _is_causal(module, query, key, attention_mask, given):
                compiled = getattr(key, COMPILED, False)
                out = attend_plainly(query, key, value, view.scaling, compiled)
                return out.transpose(1, 2).contiguous(), None
            return sdpa_attention_forward(
                module, query, key, value, attention_mask, dropout, scaling, **kwargs
            )
        out, weights = attend(query, key, value, _masked(view, attention_mask, query))
        return out.transpose(1, 2).contiguous(), weights
    if not getattr(module, "is_causal", True):
        raise UnsupportedModelError(
            f"{type(module).__name__} lets tokens see later ones; memories need a causal model"
        )
    _require_plain(layer, attention_mask, dropout)
    layer.calls += 1
    out, weights = layer.remembering.forward(
        query, key, value, view, layer.valid, layer.candidates, wants_weights,
        given_inputs(module) if layer.reads_inputs else None,
    )  # fmt: skip
    return out.transpose(1, 2).contiguous(), weights


def _is_causal(
    module: torch.nn.Module, query: Tensor, key: Tensor, mask: Tensor | None, given: bool | None
) -> bool:
    """Whether each query sees the pairs up to its own, and nothing else is asked for."""
    if mask is not None or given is not None:
        return False
    count = query.shape[2]
    return count == 1 or (getattr(module, "is_causal", True) and count == key.shape[2])


def _masked(view: View, mask: Tensor | None, query: Tensor) -> View:
    """The view of a layer without memory: whatever mask the model made, or causal."""
    if mask is None:
        return replace(view, causal_tail=True)
    if mask.dtype != torch.bool:
        mask = mask >= 0
    # A row that sees nothing (a pad) would be 0/0; let it see everything, nobody reads it.
    return replace(view, allowed=mask | ~mask.any(dim=-1, keepdim=True))


def _require_plain(layer: MemoryLayer, mask: Tensor | None, dropout: float) -> None:
    """Refuse what a memory layer would otherwise ignore: masks that are not causal plus padding."""
    if dropout:
        raise ValueError(f"attention dropout of {dropout} under a memory: call model.eval() first")
    if mask is None:
        return
    visible = mask[:, 0, -1] if mask.dtype == torch.bool else mask[:, 0, -1] >= 0
    now = layer.remembering.seen
    new = mask.shape[2] if layer.valid is None else layer.valid.sum(dim=1)
    expected = new + (now if len(now) else 0)
    last = True if layer.valid is None else layer.valid[:, -1]
    if not bool(((visible.sum(dim=1) == expected) | ~torch.as_tensor(last)).all()):
        raise ValueError(
            "this model masks attention in a way that is neither causal nor padding (a prefix, "
            "packed "
            "sequences, blocks): a memory layer cannot honour it"
        )


def register() -> None:
    """Make the attention function, and its masks, known to Transformers by ``NAME``.

    Both are needed: an attention name without masks of its own silently ignores padding.
    """
    AttentionInterface.register(NAME, memory_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
