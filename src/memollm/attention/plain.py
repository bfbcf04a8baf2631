"""Attention of layers without memory: outputs alone, by the fastest kernel for each precision.

On a CPU in half precision, PyTorch's fused kernel is slower than plain products: 44 ms for one
query over 32768 pairs of 2 heads of 64, where ``attend`` takes 2.5 (EPYC, one thread, torch 2.13).
In single precision it is the fastest, but for a query alone only if query heads that share a
key-value head come as its queries: the grouped form takes twice as long.
"""

from __future__ import annotations

import torch
from torch.nn.functional import scaled_dot_product_attention

from memollm.attention.kernel import Keys, Output, Queries, Values, attend
from memollm.attention.observed import attend_unobserved
from memollm.attention.view import View
from memollm.native.attending import attend_natively

SCORES = 2**24  # bytes that a block of queries may need: half of a processor's cache
MOST, LEAST = 64, 16  # queries in a block

_FLASH = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # gives log-sums, too


def query_block(scores: int) -> int:
    """How many queries to take at a time, if each needs so many bytes of ``scores``.

    >>> [query_block(14 * pairs * 4) for pairs in (64, 8192, 32768)]
    [64, 36, 16]
    """
    return max(LEAST, min(MOST, SCORES // max(scores, 1)))


def is_quicker(queries: Queries) -> bool:
    """Whether ``attend_plainly`` is quicker than PyTorch's kernel on the heads as they come."""
    cpu, half = queries.device.type == "cpu", queries.element_size() <= 2
    return cpu and (half or queries.shape[2] == 1)


def attend_plainly(
    queries: Queries, keys: Keys, values: Values, scaling: float, compiled: bool = False
) -> Output:
    """softmax(q k^T * scaling) v; each query sees the pairs up to its own, the last ones.

    ``compiled``: compiled kernels may do it, where there are any.
    """
    batch, heads, count, dim = queries.shape
    pairs = keys.shape[2]
    if not is_quicker(queries):
        return _fused(queries, keys, values, scaling)
    out = attend_natively(queries, keys, values, scaling) if compiled and count == 1 else None
    if out is not None:
        return out
    if count == 1 and queries.element_size() > 2:
        packed = queries.reshape(batch, keys.shape[1], -1, dim)
        out = scaled_dot_product_attention(packed, keys, values, scale=scaling)
        return out.reshape(batch, heads, 1, -1)
    view, outs = View(scaling=scaling, causal_tail=True), []
    step = query_block(heads * pairs * queries.element_size())
    for start in range(0, count, step):
        stop = min(start + step, count)
        seen = pairs - count + stop
        block = queries[:, :, start:stop], keys[:, :, :seen], values[:, :, :seen]
        outs.append(attend_unobserved(*block, view) if compiled else attend(*block, view)[0])
    return outs[0] if len(outs) == 1 else torch.cat(outs, dim=2)


def _fused(queries: Queries, keys: Keys, values: Values, scaling: float) -> Output:
    count, pairs = queries.shape[2], keys.shape[2]
    mask = None
    flash = queries.device.type == "cpu" and queries.shape[3] == values.shape[3]
    if 1 < count < pairs and flash:
        return _in_two(queries, keys, values, scaling)
    if 1 < count < pairs:  # is_causal would take the first pairs for the queries' own
        mask = torch.ones(count, pairs, dtype=torch.bool, device=queries.device)
        mask = mask.tril_(pairs - count)
    return scaled_dot_product_attention(
        queries, keys, values, attn_mask=mask, is_causal=count == pairs > 1, scale=scaling,
        enable_gqa=queries.shape[1] != keys.shape[1],
    )  # fmt: skip


def _in_two(queries: Queries, keys: Keys, values: Values, scaling: float) -> Output:
    """Older pairs, which every query sees, and the queries' own, weighed by their softmax's sums.

    A mask would cost a tenth more: 1.12 of a causal prompt's time at 8192 tokens, against 0.99.
    """
    batch, heads, count, dim = queries.shape
    kv_heads, older = keys.shape[1], keys.shape[2] - count
    shared = queries.reshape(batch, kv_heads, -1, dim)  # heads of a group, one after the other
    before, weight = _FLASH(
        shared, keys[:, :, :older], values[:, :, :older], 0.0, False, scale=scaling
    )
    group = heads // kv_heads
    own = (it[:, :, older:].repeat_interleave(group, dim=1) for it in (keys, values))
    within, own_weight = _FLASH(queries, *own, 0.0, True, scale=scaling)
    share = torch.sigmoid(own_weight - weight.reshape(batch, heads, count)).to(within.dtype)
    return torch.lerp(before.reshape(within.shape), within, share[..., None])
