"""Sliding window: attention to the last ``window`` tokens, the query's own included.

Time is in O(queries * window), memory in O(queries). With a window of all tokens it is dense
causal attention.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from memollm.nsa.chunked import View, chunked_attention
from memollm.nsa.layout import Keys, LogSumExp, Output, Queries, Values, wide


class LastTokens(View):
    """The tokens in (t - window, t] for the query at t."""

    def __init__(self, window: int) -> None:
        self.window = window  # tokens, >= 1
        self._hidden: dict[tuple[int, int, int], Bool[Tensor, "queries 1 keys"]] = {}

    def seen(self, start: int, stop: int) -> slice:
        return slice(max(0, start - self.window + 1), stop)

    def seen_by_all(self, start: int, stop: int) -> slice:
        seen = self.seen(start, stop)
        least = min(max(seen.start, stop - self.window), seen.stop)
        return slice(least, max(least, min(start + 1, seen.stop)))

    def hidden(
        self, queries: slice, keys: slice, device: torch.device
    ) -> Bool[Tensor, "queries 1 keys"]:
        # Distances alone matter, and these are the same in all chunks but the first and the last.
        lead = queries.start - keys.start
        shape = (lead, queries.stop - queries.start, keys.stop - keys.start)
        if shape not in self._hidden:
            query = torch.arange(lead, lead + shape[1], device=device)
            ago = query[:, None] - torch.arange(shape[2], device=device)
            self._hidden[shape] = ((ago < 0) | (ago >= self.window)).unsqueeze(1)
        return self._hidden[shape]


def window_attention(
    queries: Queries, keys: Keys, values: Values, window: int, scale: float
) -> tuple[Output, LogSumExp]:
    """Outputs and log-sum-exp, both 0 for a window of 0 tokens."""
    if window == 0:
        batch, count, heads, _ = queries.shape
        zeros = queries.new_zeros(batch, count, heads, values.shape[-1], dtype=wide(queries.dtype))
        return zeros, zeros.new_zeros(batch, heads, count)
    first = keys.shape[1] - queries.shape[1]
    return chunked_attention(queries, keys, values, LastTokens(window), first, scale)


def dense_attention(queries: Queries, keys: Keys, values: Values, scale: float) -> Output:
    """Causal attention to all tokens; torch's own kernel where it aligns queries as we do."""
    if queries.shape[1] < keys.shape[1] or queries.shape[2] > keys.shape[2]:
        return window_attention(queries, keys, values, keys.shape[1], scale)[0]
    q, k, v = (tensor.transpose(1, 2) for tensor in (queries, keys, values))
    return scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale).transpose(1, 2)
