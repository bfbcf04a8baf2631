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

# Pairs beyond which a batched product in half precision costs more than one product per head: on a
# CPU it copies a slab's slice first. Of the transposed keys the copy is slow, of the values not.
COPIED_KEYS, COPIED_VALUES = 512, 8192


def attend(queries: Queries, keys: Keys, values: Values, view: View) -> tuple[Output, Weights]:
    """Attention of a block of queries over all ``pairs``, and its weights.

    softmax(cap(q k^T * scaling * key_scale) + bias) (v * value_scale), over the pairs that are
    visible; the softmax is in float32 at least. Query heads share key-value heads in groups of
    ``heads // kv_heads`` neighbours. With a causal tail the last ``queries`` pairs are the
    queries' own, and each query sees them up to itself.
    """
    scores = logits(queries, keys, view)
    weights = _softmax(scores, view.sink_logits)
    del scores  # as large as the weights: at long contexts most of the memory that a chunk needs
    return mixed(weights, values, view), weights


def logits(queries: Queries, keys: Keys, view: View) -> Weights:
    """What the softmax is taken of."""
    batch, heads, count, dim = queries.shape
    kv_heads, pairs = keys.shape[1], keys.shape[2]
    grouped = (queries * view.scaling).reshape(batch * kv_heads, -1, dim)
    scores = _product(grouped, keys.flatten(0, 1).transpose(1, 2), COPIED_KEYS)
    scores = scores.view(batch, heads, count, pairs)
    return scores if view.plain and count == 1 else _adjusted(scores, view)


def mixed(weights: Weights, values: Values, view: View) -> Output:
    """The values of all pairs, weighted."""
    batch, heads, count, pairs = weights.shape
    seen = weights
    if view.value_scale is not None:
        seen = weights * view.value_scale[:, None, None].to(weights.dtype)
    grouped = seen.to(values.dtype).view(batch * values.shape[1], -1, pairs)
    return _product(grouped, values.flatten(0, 1), COPIED_VALUES).view(batch, heads, count, -1)


def _adjusted(scores: Weights, view: View) -> Weights:
    """Scores scaled, capped, biased and masked; but for scales, in the precision of the softmax."""
    if view.key_scale is not None:
        scores *= view.key_scale[:, None, None].to(scores.dtype)
    if not view.plain and scores.dtype != torch.float64:
        scores = scores.float()
    if view.softcap is not None:
        scores = torch.tanh(scores / view.softcap) * view.softcap
    if view.bias is not None:
        scores += view.bias[:, None, None].to(scores.dtype)
    if view.allowed is not None:
        scores = scores.masked_fill_(~view.allowed, -torch.inf)
    if view.hidden is not None:
        scores = scores.masked_fill_(view.hidden[:, None, None], -torch.inf)
    count = scores.shape[2]
    if view.causal_tail and count > 1:
        future = torch.ones(count, count, dtype=torch.bool, device=scores.device).triu_(1)
        scores[..., -count:].masked_fill_(future, -torch.inf)
    return scores


def _softmax(
    scores: Float[Tensor, "*rows pairs"], sink_logits: Float[Tensor, "*batch heads"] | None
) -> Float[Tensor, "*rows pairs"]:
    """In float32 at least."""
    if sink_logits is not None:
        # A learned logit per head that takes part in the sum and is attended to by nobody
        # (gpt-oss).
        sinks = (
            sink_logits.to(scores.dtype)
            .view(-1, scores.shape[1], 1, 1)
            .expand(*scores.shape[:3], 1)
        )
        return _softmax(torch.cat([scores, sinks], dim=-1), None)[..., :-1].contiguous()
    if scores.dtype in (torch.float32, torch.float64):
        return torch.softmax(scores, dim=-1)
    return torch.softmax(scores, dim=-1, dtype=torch.float32)


def _product(
    left: Float[Tensor, "heads rows inner"],
    right: Float[Tensor, "heads inner columns"],
    copied: int,
) -> Float[Tensor, "heads rows columns"]:
    """A product for each head of each row; from ``copied`` pairs on, in half precision, alone."""
    pairs = max(right.shape[1:])
    if left.device.type != "cpu" or left.element_size() > 2 or pairs <= copied:
        return torch.bmm(left, right)
    out = left.new_empty(left.shape[0], left.shape[1], right.shape[2])
    for factor, other, product in zip(left.unbind(0), right.unbind(0), out.unbind(0), strict=True):
        torch.mm(factor, other, out=product)
    return out


def head_mean(weights: Weights) -> Float[Tensor, "batch queries pairs"]:
    """The attention weight each query gave each pair, averaged over its heads."""
    return weights.mean(dim=1)
