"""Attention by feature maps: what its mechanisms have in common.

With weights phi(q_i) . phi(k_j) in place of e^score, sums over keys need no queries:

    o_i = phi(q_i) sum_j phi(k_j) v_j^T / (phi(q_i) . sum_j phi(k_j)),

O(N features value_dim) time, O(N) memory (Katharopoulos et al., 2020, arXiv:2006.16236). Causal
sums are carried from chunk to chunk, and inside a chunk pairs are written out. A cache is the two
sums: its size does not grow.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad

from memollm.attention.mechanisms.base import Keys, Mechanism, Output, Queries, Supports, Values
from memollm.attention.mechanisms.cache import Cache
from memollm.attention.mechanisms.scope import Scope
from memollm.attention.mechanisms.tiles import folded
from memollm.nsa.layout import wide

CHUNK = 128  # tokens whose pairs are written out

# Sums of phi(k) v^T and, as the last column, of phi(k).
Sums = Float[Tensor, "batch kv_heads features value_dim_and_1"]


@dataclass
class Kernelised(Mechanism):
    """Non-negative feature maps of queries and keys. A query of weights 0 alone gets 0."""

    supports: ClassVar[Supports] = Supports(mask=False, slopes=False, scale=False)
    hides_pads: ClassVar[bool] = True

    @abc.abstractmethod
    def features(
        self, queries: Tensor, keys: Tensor, first_query: int, first_key: int
    ) -> tuple[Tensor, Tensor]:
        """Features of queries and keys (batch, heads, tokens, dim), from these positions on."""

    def compute(
        self, queries: Queries, keys: Keys, values: Values, scope: Scope, weights: nn.Module | None
    ) -> Output:
        dtype, before = wide(queries.dtype), keys.shape[2] - queries.shape[2]
        first = 0 if scope.cross else before
        asking, asked = self.features(queries.to(dtype), keys.to(dtype), first, 0)
        if scope.padding is not None:
            asked = asked.masked_fill(~scope.padding[:, None, :, None], 0)
        extended = pad(values.to(dtype), (0, 1), value=1.0)
        if not scope.causal:
            return divided(_apart(asking, asked.mT @ extended))
        sums = asked[:, :, :before].mT @ extended[:, :, :before]
        mixed, _ = causal(asking, asked[:, :, before:], extended[:, :, before:], sums)
        return divided(mixed)

    def cache(self) -> Cache:
        self.require(Scope(), cached=True)
        return SumsCache(self)


class SumsCache(Cache):
    """The sums over all keys so far."""

    def __init__(self, mechanism: Kernelised) -> None:
        self._mechanism = mechanism
        self._sums: Tensor | None = None

    def attend(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        scope: Scope | None = None,
        weights: nn.Module | None = None,
    ) -> Tensor:
        scope = scope or Scope()
        self._mechanism.require(scope, cached=True)
        if not scope.causal:
            raise ValueError("a cache is read by causal attention alone, got causal=False")
        dtype, first, new = wide(queries.dtype), self.tokens, keys.shape[2]
        asking, asked = self._mechanism.features(queries.to(dtype), keys.to(dtype), first, first)
        real = None if scope.padding is None else scope.padding[:, None, -new:, None]
        if real is not None:
            asked = asked.masked_fill(~real, 0)
        extended = pad(values.to(dtype), (0, 1), value=1.0)
        if self._sums is None:
            self._sums = asked.new_zeros(*asked.shape[:2], asked.shape[3], extended.shape[3])
        mixed, self._sums = causal(asking, asked, extended, self._sums)
        self.tokens += new
        outputs = divided(mixed).to(queries.dtype)
        return outputs if real is None else outputs.masked_fill(~real, 0)


def causal(queries: Tensor, keys: Tensor, values: Tensor, sums: Sums) -> tuple[Tensor, Sums]:
    """Numerators and denominators (batch, heads, tokens, value_dim + 1), and the sums afterwards.

    Args:
        queries: phi(q), (batch, heads, tokens, features).
        keys: phi(k) of the same tokens, (batch, kv_heads, tokens, features).
        values: with a column of ones, (batch, kv_heads, tokens, value_dim + 1).
        sums: of the tokens before.
    """
    batch, heads, tokens, _ = queries.shape
    kv_heads, size = keys.shape[1], min(CHUNK, max(tokens, 1))
    short = -tokens % size
    if short:  # without features they take part in no sum
        queries, keys, values = (pad(it, (0, 0, 0, short)) for it in (queries, keys, values))
    chunks = (tokens + short) // size
    keys, values = (it.unflatten(2, (chunks, size)) for it in (keys, values))
    # Query heads that share keys become rows of one matrix: (..., chunks, group * size, features).
    rows = queries.unflatten(2, (chunks, size)).unflatten(1, (kv_heads, -1)).transpose(2, 3)
    group = rows.shape[3]
    rows = rows.flatten(3, 4)
    within = (rows @ keys.mT).unflatten(3, (group, size)).tril_().flatten(3, 4) @ values
    running = torch.cat([sums.unsqueeze(2), keys.mT @ values], dim=2).cumsum(2)
    mixed = torch.baddbmm(
        within.flatten(0, 2), rows.flatten(0, 2), running[:, :, :-1].flatten(0, 2)
    )
    mixed = mixed.view(batch, kv_heads, chunks, group, size, -1).transpose(2, 3)
    return mixed.reshape(batch, heads, chunks * size, -1)[:, :, :tokens], running[:, :, -1]


def _apart(queries: Tensor, sums: Sums) -> Tensor:
    mixed = folded(queries, sums.shape[1]) @ sums
    return mixed.view(*queries.shape[:3], -1)


def divided(mixed: Tensor) -> Tensor:
    """Numerators by their denominators, the last column."""
    weighted, total = mixed[..., :-1], mixed[..., -1:]
    return weighted / total.masked_fill(total == 0, 1)
