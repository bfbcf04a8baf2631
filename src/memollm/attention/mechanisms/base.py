"""What every attention mechanism promises.

A mechanism is a dataclass: its fields are its configuration, ``compute`` is what it does to
queries, keys and values that are split into heads already. It knows nothing of projections,
position encodings or models: those are ``attention/layer.py``'s.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass, replace
from typing import ClassVar, TypeAlias

from jaxtyping import Float
from torch import Tensor, nn

from memollm.attention.mechanisms.cache import Cache, PairCache
from memollm.attention.mechanisms.pads import row_by_row
from memollm.attention.mechanisms.scope import Scope
from memollm.registry import groups, name_of

Queries: TypeAlias = Float[Tensor, "batch heads queries dim"]
Keys: TypeAlias = Float[Tensor, "batch kv_heads keys dim"]
Values: TypeAlias = Float[Tensor, "batch kv_heads keys value_dim"]
Output: TypeAlias = Float[Tensor, "batch heads queries value_dim"]


@dataclass(frozen=True)
class Supports:
    """What a mechanism can honour; what it cannot is refused, never ignored."""

    causal: bool = True
    bidirectional: bool = True
    mask: bool = True  # any, over queries and keys
    padding: bool = True  # rows of a batch that are shorter than others
    cache: bool = True  # token by token gives what the whole text gives
    cross: bool = True  # keys of another sequence
    slopes: bool = True  # ALiBi
    scale: bool = True  # a factor on scores; feature maps have no scores


@dataclass(frozen=True)
class HeadShape:
    """What learned weights of a mechanism are shaped by."""

    width: int  # of hidden states
    heads: int
    kv_heads: int
    head_dim: int


@dataclass
class Mechanism(abc.ABC):
    """One way for queries to read values by keys.

    Query heads share key-value heads in groups of ``heads // kv_heads`` neighbours. A query that
    sees nothing gets 0.
    """

    supports: ClassVar[Supports] = Supports()
    # Whether ``compute`` honours ``Scope.padding`` itself; otherwise each row goes alone.
    hides_pads: ClassVar[bool] = False

    @abc.abstractmethod
    def compute(
        self, queries: Queries, keys: Keys, values: Values, scope: Scope, weights: nn.Module | None
    ) -> Output:
        """Outputs, for a scope that is supported."""

    def attend(
        self,
        queries: Queries,
        keys: Keys,
        values: Values,
        scope: Scope | None = None,
        weights: nn.Module | None = None,
    ) -> Output:
        """Outputs in the dtype of the queries; those of pads are 0.

        Args:
            queries: of the last ``queries`` tokens, or of another sequence.
            keys: of all tokens, cached ones first.
            values: of the same.
            scope: None: causal, and nothing else.
            weights: what ``weights()`` made, for a mechanism that learns something.

        Raises:
            ValueError: for what the mechanism does not support.
        """
        scope = scope or Scope()
        scope = replace(scope, causal=False) if scope.cross else scope
        self.require(scope)
        require_fitting(queries, keys, scope)
        self.key_value_heads(queries.shape[1], keys.shape[1])
        if scope.padding is None or self.hides_pads:
            outputs = self.compute(queries, keys, values, scope, weights)
        else:
            outputs = row_by_row(self.compute, queries, keys, values, scope, weights)
        if scope.padding is not None and not scope.cross:
            pads = ~scope.padding[:, -queries.shape[2] :]
            outputs = outputs.masked_fill(pads[:, None, :, None], 0)
        return outputs.to(queries.dtype)

    def weights(self, shape: HeadShape) -> nn.Module | None:
        """New weights to be trained; None: there is nothing to learn."""
        return None

    def cache(self) -> Cache:
        """An empty cache, for reading a text in parts: ``cache.attend`` in place of ``attend``."""
        self.require(Scope(), cached=True)
        return PairCache(self.attend)

    def key_value_heads(self, heads: int, wanted: int | None) -> int:
        """How many key-value heads so many query heads share, if ``wanted`` are asked for.

        Raises:
            ValueError: for a number that the mechanism does not know.
        """
        return heads if wanted is None else wanted

    def require(self, scope: Scope, cached: bool = False) -> None:
        """Refuse what is not supported.

        Raises:
            ValueError: naming it, and the mechanisms that support it.
        """
        asked = {
            "causal": scope.causal,
            "bidirectional": not scope.causal and not scope.cross,
            "mask": scope.mask is not None,
            "padding": scope.padding is not None,
            "cache": cached,
            "cross": scope.cross,
            "slopes": scope.slopes is not None,
            "scale": scope.scale is not None,
        }
        for name, wanted in asked.items():
            if wanted and not getattr(self.supports, name):
                parts = groups()["mechanism"].items()
                able = ", ".join(sorted(it for it, cls in parts if getattr(cls.supports, name)))
                raise ValueError(
                    f"mechanism={name_of(self)} does not support {ASKED[name]}; these do: {able}"
                )


ASKED = {
    "causal": "causal attention",
    "bidirectional": "bidirectional attention (causal=False)",
    "mask": "a custom mask",
    "padding": "padding",
    "cache": "a cache",
    "cross": "cross attention (keys of another sequence)",
    "slopes": "ALiBi",
    "scale": "a scale of scores",
}


def require_fitting(queries: Tensor, keys: Tensor, scope: Scope) -> None:
    """Refuse numbers of heads and tokens that do not go together."""
    heads, kv_heads = queries.shape[1], keys.shape[1]
    if kv_heads == 0 or heads % kv_heads:
        raise ValueError(f"heads must be a multiple of kv_heads, got {heads} and {kv_heads}")
    if scope.cross and scope.slopes is not None:
        raise ValueError("ALiBi compares positions, which say nothing in cross attention")
    if not scope.cross and queries.shape[2] > keys.shape[2]:
        raise ValueError(
            "queries are the last of the tokens whose keys are given, unless scope.cross: got "
            f"{queries.shape[2]} queries and {keys.shape[2]} keys"
        )


def require_whole(name: str, value: object, least: int) -> None:
    """Refuse a setting that is not an integer of at least ``least``."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be an integer >= {least}, got {value!r}")
