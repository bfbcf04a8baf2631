"""An attention layer: projections and positions around a mechanism."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from memollm.attention.config import AttentionConfig, mechanism_of
from memollm.attention.mechanisms.base import HeadShape
from memollm.attention.mechanisms.cache import Cache
from memollm.attention.mechanisms.scope import Scope
from memollm.attention.positions.base import PositionEncoding
from memollm.registry import groups, import_parts, refusal

Hidden = Float[Tensor, "batch tokens width"]


class AttentionLayer(nn.Module):
    """Hidden states in, hidden states of the same shape out.

    Attributes:
        mechanism: how heads attend; a dataclass without weights.
        weights: what the mechanism learns, if anything.
        causal: whether tokens see nothing after themselves.
    """

    def __init__(self, config: AttentionConfig) -> None:
        """Build the layer.

        Raises:
            ValueError: for a configuration that cannot be honoured.
        """
        super().__init__()
        self.config = config
        self.mechanism = mechanism_of(config)
        self.heads = config.n_heads
        self.kv_heads = self.mechanism.key_value_heads(config.n_heads, config.n_kv_heads)
        if self.kv_heads < 1 or self.heads % self.kv_heads:
            raise ValueError(
                f"n_heads must be a multiple of n_kv_heads, got {self.heads} and {self.kv_heads}"
            )
        supports = self.mechanism.supports
        by_nature = supports.causal and not supports.bidirectional
        self.causal = by_nature if config.causal is None else config.causal
        width, dim = config.d_model, config.d_model // config.n_heads
        self.positions = _encoding(config.position_encoding)
        slopes = None
        if self.positions is not None:
            self.positions.require(dim, self.causal)
            slopes = self.positions.slopes(self.heads)
        self.register_buffer("slopes", slopes, persistent=False)
        if supports.causal or supports.bidirectional:  # else it is for other sequences alone
            self.mechanism.require(Scope(causal=self.causal, slopes=slopes))
        self.queries = nn.Linear(width, self.heads * dim, bias=config.bias)
        self.keys = nn.Linear(width, self.kv_heads * dim, bias=config.bias)
        self.values = nn.Linear(width, self.kv_heads * dim, bias=config.bias)
        self.outputs = nn.Linear(self.heads * dim, width, bias=config.bias)
        self.weights = self.mechanism.weights(HeadShape(width, self.heads, self.kv_heads, dim))
        self.dropout = nn.Dropout(config.dropout)

    def cache(self) -> Cache:
        """An empty cache, to be handed to each call that reads a part of the same text.

        Raises:
            ValueError: for a layer that is not causal, or a mechanism that cannot.
        """
        if not self.causal:
            raise ValueError("a text can be read in parts by causal attention alone: causal=True")
        return self.mechanism.cache()

    def forward(
        self,
        hidden: Hidden,
        mask: Bool[Tensor, "*lead queries keys"] | None = None,
        *,
        context: Float[Tensor, "batch others width"] | None = None,
        padding: Bool[Tensor, "batch keys"] | None = None,
        cache: Cache | None = None,
    ) -> Hidden:
        """Attention of every token.

        Args:
            hidden: of all tokens, or of those that follow what ``cache`` has read.
            mask: True: may be seen; (queries, keys), (batch, queries, keys) or (batch, heads,
                queries, keys), keys of the cache first.
            context: hidden states of another sequence, to attend to in place of one's own.
            padding: True: a token, False: a pad; over all keys, those of the cache first.
            cache: what has been read so far; takes in ``hidden``.

        Raises:
            ValueError: for what the mechanism does not support.
        """
        cross = context is not None
        if cross and (self.positions is not None or cache is not None):
            raise ValueError("positions and caches are of one sequence: not with context")
        source = hidden if context is None else context
        q = self._split(self.queries(hidden), self.heads)
        k = self._split(self.keys(source), self.kv_heads)
        v = self._split(self.values(source), self.kv_heads)
        if self.positions is not None:
            before = 0 if cache is None else cache.tokens
            places = _places(before, hidden, padding)
            q, k = self.positions.turned(q, k, places)
        slopes = self.get_buffer("slopes") if self.slopes is not None else None
        scope = Scope(self.causal, cross, _four(mask), padding, slopes, None, hidden)
        attend = self.mechanism.attend if cache is None else cache.attend
        mixed = attend(q, k, v, scope, self.weights)
        return self.dropout(self.outputs(mixed.transpose(1, 2).flatten(2)))

    def _split(self, states: Tensor, heads: int) -> Float[Tensor, "batch heads tokens dim"]:
        return states.unflatten(-1, (heads, -1)).transpose(1, 2)


def _encoding(name: str | None) -> PositionEncoding | None:
    if name is None:
        return None
    import_parts("attention.positions")
    parts = groups()["position_encoding"]
    if name not in parts:
        raise refusal("position_encoding", name, parts)
    return parts[name]()


def _places(before: int, hidden: Tensor, padding: Tensor | None) -> Int[Tensor, "rows tokens"]:
    """Positions of the tokens, pads not counted."""
    count = hidden.shape[1]
    if padding is None:
        return torch.arange(before, before + count, device=hidden.device)[None]
    return (padding.long().cumsum(-1) - 1).clamp(min=0)[:, -count:]


def _four(mask: Tensor | None) -> Bool[Tensor, "rows heads queries keys"] | None:
    """A mask with rows and heads, of which one may stand for all."""
    if mask is None:
        return None
    return mask[None, None] if mask.ndim == 2 else mask.unsqueeze(1) if mask.ndim == 3 else mask
