"""Causal attention in blocks of queries, for training on a CPU.

PyTorch's own kernel takes half of a training step there, in bfloat16; two products and a softmax
a block take two thirds of its time at 512 to 2048 tokens (forward and backward, one thread).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

NAME = "memollm_blocked"
BLOCK = 256  # queries


def use_blocks(model: PreTrainedModel) -> None:
    """Have the model's layers attend in blocks, without a mask: full causal sequences only."""
    AttentionInterface.register(NAME, attend)
    model.config._attn_implementation = NAME


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **_: object,
) -> tuple[Tensor, None]:
    """softmax(scaling Q K^T) V, causal; as Transformers' attention interface asks.

    ``query`` is (batch, heads, length, head_dim), ``key`` and ``value`` the same with kv_heads;
    returned are (batch, length, heads, head_dim) and no weights.

    Raises:
        ValueError: given a mask or dropout.
    """
    if attention_mask is not None or dropout:
        raise ValueError("blocked attention knows neither masks nor dropout")
    batch, heads, length, dim = query.shape
    kv_heads = key.shape[1]
    grouped = (query * scaling).view(batch, kv_heads, heads // kv_heads, length, dim)
    outputs: list[Tensor] = []
    for start in range(0, length, BLOCK):
        block = grouped[..., start : start + BLOCK, :]
        end = start + block.shape[-2]
        scores = (block.flatten(2, 3) @ key[:, :, :end].transpose(-1, -2)).unflatten(
            2, block.shape[2:4]
        )
        later = torch.ones(end - start, end, dtype=torch.bool, device=query.device).triu(start + 1)
        shares = scores.masked_fill(later, float("-inf")).softmax(-1)
        outputs.append((shares.flatten(2, 3) @ value[:, :, :end]).unflatten(2, block.shape[2:4]))
    return torch.cat(outputs, 3).flatten(1, 2).transpose(1, 2).contiguous(), None
