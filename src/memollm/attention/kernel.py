"""One block of attention over cached pairs, with what a memory needs of it: the weights.

Kernels of the libraries return outputs alone; a memory that rehearses what is attended to needs
the weights too. Blocks of some 64 queries keep the scores in the processor's cache, so that the
weights cost little more than the outputs (and less than a second pass over the keys).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from memollm.attention.view import View

Queries = Float[Tensor, "batch heads queries dim"]
Keys = Float[Tensor, "batch kv_heads pairs dim"]
Values = Float[Tensor, "batch kv_heads pairs value_dim"]
Output = Float[Tensor, "batch heads queries value_dim"]
Weights = Float[Tensor, "batch heads queries pairs"]


def attend(queries: Queries, keys: Keys, values: Values, view: View) -> tuple[Output, Weights]:
    """Attention of a block of queries over all ``pairs``, and its weights.

    softmax(cap(q k^T * scaling * key_scale) + bias) (v * value_scale), over the pairs that are
    visible; the softmax is in float32 at least. Query heads share key-value heads in groups of
    ``heads // kv_heads`` neighbours. With a causal tail the last ``queries`` pairs are the
    queries' own, and each query sees them up to itself.
    """
    batch, heads, count, dim = queries.shape
    kv_heads, pairs = keys.shape[1], keys.shape[2]
    grouped = (queries * view.scaling).reshape(batch, kv_heads, -1, dim)
    scores = _per_head(grouped, keys.transpose(2, 3)).view(batch, heads, count, pairs)
    if view.key_scale is not None:
        scores *= view.key_scale[:, None, None].to(scores.dtype)
    wide = scores if scores.dtype == torch.float64 else scores.float()
    if view.softcap is not None:
        wide = torch.tanh(wide / view.softcap) * view.softcap
    if view.bias is not None:
        wide += view.bias[:, None, None].to(wide.dtype)
    if view.allowed is not None:
        wide = wide.masked_fill_(~view.allowed, -torch.inf)
    if view.hidden is not None:
        wide = wide.masked_fill_(view.hidden[:, None, None], -torch.inf)
    if view.causal_tail and count > 1:
        future = torch.ones(count, count, dtype=torch.bool, device=queries.device).triu_(1)
        wide[..., pairs - count :].masked_fill_(future, -torch.inf)
    weights = _softmax(wide, view.sink_logits)
    seen = (
        weights
        if view.value_scale is None
        else weights * view.value_scale[:, None, None].to(weights.dtype)
    )
    mixed = seen.to(values.dtype).view(batch, kv_heads, -1, pairs)
    return _per_head(mixed, values).view(batch, heads, count, -1), weights


def _softmax(scores: Weights, sink_logits: Float[Tensor, " heads"] | None) -> Weights:
    if sink_logits is None:
        return torch.softmax(scores, dim=-1)
    # A learned logit per head that takes part in the sum and is attended to by nobody (gpt-oss).
    sinks = sink_logits.to(scores.dtype).view(1, -1, 1, 1).expand(*scores.shape[:3], 1)
    return torch.softmax(torch.cat([scores, sinks], dim=-1), dim=-1)[..., :-1].contiguous()


def _per_head(
    left: Float[Tensor, "batch kv_heads rows inner"],
    right: Float[Tensor, "batch kv_heads inner columns"],
) -> Float[Tensor, "batch kv_heads rows columns"]:
    if left.device.type != "cpu":
        return left @ right
    # A batched product of a slab's slice copies the slice first (in bfloat16 at two to three
    # times the cost of the product); plain matrix products read it in place.
    batch, kv_heads, rows, _ = left.shape
    out = left.new_empty(batch, kv_heads, rows, right.shape[-1])
    products = (tensor.flatten(0, 1).unbind(0) for tensor in (left, right, out))
    for factor, other, product in zip(*products, strict=True):
        torch.mm(factor, other, out=product)
    return out


def head_mean(weights: Weights) -> Float[Tensor, "batch queries pairs"]:
    """The attention weight each query gave each pair, averaged over its heads."""
    return weights.mean(dim=1)
