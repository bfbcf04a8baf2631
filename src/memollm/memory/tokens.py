"""The cached tokens of one layer, as whoever decides what is forgotten sees them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Tokens:
    """The cached tokens of one layer at a chunk's end; slots are in no particular order.

    A row is a sequence, or with ``heads`` > 1 one of a sequence's key-value heads, which come one
    after another: each forgets for itself, and its ``keys`` have one head.

    All are views of the cache: whoever decides may read them, and writes ``state`` and ``rows``
    alone.
    """

    layer: int  # index among the memory layers
    position: Int[Tensor, "batch pairs"]  # in its own row, pads not counted; -1: a free slot
    seen: Int[Tensor, " batch"]  # tokens seen per row, without pads
    present: Bool[Tensor, "batch pairs"]  # holds a token that is not forgotten
    spared: Bool[Tensor, "batch pairs"]  # protected (sinks, recent): must not be forgotten
    keys: Float[Tensor, "batch kv_heads pairs dim"]  # with their rotation
    state: Mapping[str, Tensor]  # (batch, pairs) each: the rule's own columns, by name
    rows: Mapping[str, Tensor] = field(default_factory=dict)  # (batch,) each: its own numbers
    heads: int = 1  # rows of each sequence
