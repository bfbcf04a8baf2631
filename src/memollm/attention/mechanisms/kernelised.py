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
from memollm.nsa.layout import exact, wide

# Tokens whose pairs are written out: on a CPU so many that a chunk stays in the cache.
CHUNK = {"cpu": 64, "gpu": 256}

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
        with exact(queries):
            return self._mixed(queries, keys, values, scope)

    def _mixed(self, queries: Queries, keys: Keys, values: Values, scope: Scope) -> Output:
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
        new = keys.shape[2]
        real = None if scope.padding is None else scope.padding[:, None, -new:, None]
        with exact(queries):
            outputs = self._taken(queries, keys, values, real).to(queries.dtype)
        self.tokens += new
        return outputs if real is None else outputs.masked_fill(~real, 0)

    def _taken(self, queries: Tensor, keys: Tensor, values: Tensor, real: Tensor | None) -> Tensor:
        dtype, first = wide(queries.dtype), self.tokens
        asking, asked = self._mechanism.features(queries.to(dtype), keys.to(dtype), first, first)
        if real is not None:
            asked = asked.masked_fill(~real, 0)
        extended = pad(values.to(dtype), (0, 1), value=1.0)
        if self._sums is None:
            self._sums = asked.new_zeros(*asked.shape[:2], asked.shape[3], extended.shape[3])
        mixed, self._sums = causal(asking, asked, extended, self._sums)
        return divided(mixed)


def causal(queries: Tensor, keys: Tensor, values: Tensor, sums: Sums) -> tuple[Tensor, Sums]:
    """Numerators and denominators (batch, heads, tokens, value_dim + 1), and the sums afterwards.

    Args:
        queries: phi(q), (batch, heads, tokens, features).
        keys: phi(k) of the same tokens, (batch, kv_heads, tokens, features).
        values: with a column of ones, (batch, kv_heads, tokens, value_dim + 1).
        sums: of the tokens before.
    """
    (batch, heads), kv_heads, mixed = queries.shape[:2], keys.shape[1], []
    size = CHUNK["cpu" if queries.device.type == "cpu" else "gpu"]
    # Split, since slices would each add a gradient as long as all tokens.
    chunks = zip(*(it.split(size, dim=2) for it in (queries, keys, values)), strict=True)
    for asking, asked, extended in chunks:
        rows, tokens = folded(asking, kv_heads), asked.shape[2]
        pairs = (rows @ asked.mT).unflatten(2, (-1, tokens)).tril_().flatten(2, 3)
        mixed.append((pairs @ extended + rows @ sums).view(batch, heads, tokens, -1))
        sums = sums + asked.mT @ extended
    return torch.cat(mixed, dim=2), sums


def _apart(queries: Tensor, sums: Sums) -> Tensor:
    mixed = folded(queries, sums.shape[1]) @ sums
    return mixed.view(*queries.shape[:3], -1)


def divided(mixed: Tensor) -> Tensor:
    """Numerators by their denominators, the last column."""
    weighted, total = mixed[..., :-1], mixed[..., -1:]
    return weighted / total.masked_fill(total == 0, 1)
