"""Causal attention in blocks of queries, for training on a CPU.

PyTorch's own kernel takes half of a training step there, in bfloat16; products and a softmax a
block, with the gradients written out, take 0.4 to 0.7 of its time (forward and backward, one
thread, 256 to 8192 tokens).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import AttentionInterface, PreTrainedModel

NAME = "memollm_blocked"
BLOCK = 128  # queries


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
    returned are (batch, length, heads, head_dim) and no weights. Products are in the type of
    ``value``, which under autocast is the reduced one.

    Raises:
        ValueError: given a mask or dropout.
    """
    if attention_mask is not None or dropout:
        raise ValueError("blocked attention knows neither masks nor dropout")
    batch, heads, length, dim = query.shape
    kv_heads, dtype = key.shape[1], value.dtype
    group = heads // kv_heads
    # The heads that share a key stand side by side at each place: a block of places is one slice.
    rows = (query * scaling).to(dtype).view(batch, kv_heads, group, length, dim).transpose(2, 3)
    places = batch * kv_heads, length, dim
    with torch.autocast(query.device.type, enabled=False):
        output = _Blocks.apply(
            rows.reshape(batch * kv_heads, length * group, dim),
            key.to(dtype).reshape(places),
            value.reshape(places),
        )
    output = output.view(batch, kv_heads, length, group, dim).permute(0, 2, 1, 3, 4)
    return output.reshape(batch, length, heads, dim), None


class _Blocks(torch.autograd.Function):
    """The shares of each block are kept; gradients of all keys gather in place."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, key: Tensor, value: Tensor) -> Tensor:
        group, output, kept = rows.shape[1] // key.shape[1], torch.empty_like(rows), []
        for start, end in _blocks(key.shape[1]):
            own = slice(start * group, end * group)
            scores = rows[:, own] @ key[:, :end].transpose(1, 2)
            ones = torch.ones(end - start, end - start, dtype=torch.bool, device=rows.device)
            later = ones.triu(1).repeat_interleave(group, 0)
            scores[:, :, start:].masked_fill_(later, float("-inf"))
            shares = scores.softmax(-1)
            output[:, own] = shares @ value[:, :end]
            kept.append(shares)
        ctx.save_for_backward(rows, key, value, *kept)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rows, key, value, *kept = ctx.saved_tensors
        gradient, group = gradients[0], rows.shape[1] // key.shape[1]
        of_rows = torch.empty_like(rows)
        wide = torch.promote_types(key.dtype, torch.float32)  # many blocks are added up
        of_key, of_value = torch.zeros_like(key, dtype=wide), torch.zeros_like(value, dtype=wide)
        for (start, end), shares in zip(_blocks(key.shape[1]), kept, strict=True):
            own = slice(start * group, end * group)
            of_value[:, :end] += shares.transpose(1, 2) @ gradient[:, own]
            of_shares = gradient[:, own] @ value[:, :end].transpose(1, 2)
            of_scores = torch._softmax_backward_data(of_shares, shares, -1, shares.dtype)
            of_rows[:, own] = of_scores @ key[:, :end]
            of_key[:, :end] += of_scores.transpose(1, 2) @ rows[:, own]
        return of_rows, of_key.to(key.dtype), of_value.to(value.dtype)


def _blocks(length: int) -> list[tuple[int, int]]:
    return [(start, min(start + BLOCK, length)) for start in range(0, length, BLOCK)]
