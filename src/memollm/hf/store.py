"""The store: the cached tokens of one memory layer, where they stand and what is known of them.

A row is a sequence, or one key-value head of it where each head has a memory of its own (see
``heads``). Positions are counted per row and without pads, so that a left-padded row goes through
the same chunks, ages and sinks as it does alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memollm.attention.patterns.base import ContentPattern, Pattern
from memollm.cache.slab import Slab
from memollm.memory.forgetting import protected
from memollm.memory.rule import Rule
from memollm.memory.tokens import Tokens

STATE = ("position", "forgotten", "hidden")  # slab tensors but K, V, weights and rule's columns
CODES = "codes"  # slab tensor of what a pattern needs to know of each key
FREE = -1  # position of a slot that holds no token


@dataclass(frozen=True)
class Checkpoint:
    """The memory as it was after some token, for tokens that may be taken back."""

    length: int
    columns: int
    seen: Tensor
    state: dict[str, Tensor]
    rows: dict[str, Tensor]


class Store:
    """Pairs, positions and state of one layer's tokens, in the slots of a slab."""

    def __init__(self, rule: Rule, weights: Mapping[str, float], pattern: Pattern) -> None:
        """``weights``: what a mode attenuates tokens by, and what each of them begins with."""
        self.coded = isinstance(pattern, ContentPattern) and pattern.coded
        self.slab = Slab()
        self.columns = 0  # tokens seen, pads and all: what positions of the model count
        self.seen = torch.zeros(0, dtype=torch.int32)  # tokens seen per row, without pads
        self.hides = False  # whether any slot is hidden
        self.rows: dict[str, Tensor] = {}  # the rule's numbers for each row
        self._rule, self._weights, self._pattern = rule, weights, pattern
        self._pads = False  # whether any were ever stored

    def append(
        self,
        keys: Float[Tensor, "rows kv_heads new dim"],
        values: Float[Tensor, "rows kv_heads new value_dim"],
        valid: Bool[Tensor, "rows new"] | None = None,
        inputs: Float[Tensor, "batch new width"] | None = None,
    ) -> Int[Tensor, "rows new"]:
        """Store the pairs of new tokens.

        Args:
            keys: of the new tokens.
            values: of the new tokens.
            valid: False on pads, which come last; None: there are none.
            inputs: of the attention layer, for a rule that reads them.

        Returns:
            Their positions, -1 for pads.
        """
        count = keys.shape[2]
        if not self.columns:
            self._begin(keys)
        position = self.seen.unsqueeze(1)
        if count > 1:
            position = position + torch.arange(count, device=keys.device, dtype=torch.int32)
        if valid is not None:
            position = torch.where(valid, position, FREE)
            self.hides = self._pads = True
            self.seen = self.seen + valid.sum(dim=1, dtype=torch.int32)
        else:
            self.seen = self.seen + count
        counting = {name: position for name, it in self._rule.columns.items() if it is None}
        given = self._rule.born(keys, inputs) if self._rule.given else {}
        if self.coded:
            assert isinstance(self._pattern, ContentPattern)
            given = {**given, CODES: self._pattern.codes(keys)}
        self.slab.append(keys=keys, values=values, position=position, **counting, **given)
        if valid is not None:
            self.slab["hidden"][:, -count:] = ~valid
        self.columns += count
        return position

    def count_one(self) -> None:
        """Count one token in every row, whose slot somebody else has filled."""
        self.seen = self.seen + 1
        self.columns += 1

    @property
    def in_order(self) -> bool:
        """Whether every token lies in the slot of its position: nothing was ever evicted."""
        return self.slab.length == self.columns and not self._pads

    def state(self, pairs: int | None = None) -> dict[str, Tensor]:
        """The rule's columns, of all slots or of the first ``pairs``."""
        length = self.slab.length if pairs is None else pairs
        return {name: self.slab.head(name, length) for name in self._rule.columns}

    def tokens(self, layer: int, heads: int, sinks: int, recent: int) -> Tokens:
        """All of it, as a rule sees it."""
        slab, seen = self.slab, self.seen
        position = slab["position"]
        return Tokens(
            layer, position, seen, (position >= 0) & ~slab["forgotten"],
            protected(position, seen, sinks, recent), slab["keys"], self.state(), self.rows, heads,
        )  # fmt: skip

    def evict(self) -> None:
        """Free hidden slots."""
        kept = ~self.slab["hidden"]
        counts = kept.sum(dim=1)
        self.slab.keep(kept)
        free = torch.arange(self.slab.length, device=counts.device) >= counts[:, None]
        self.slab["hidden"].copy_(free)
        self.slab["position"].masked_fill_(free, FREE)
        self.hides = bool(free.any())

    def kept_tokens(self) -> float:
        """Tokens that are still seen, mean over rows."""
        if not self.columns:
            return 0.0
        return float((~self.slab["hidden"]).sum(dim=1).double().mean())

    def checkpoint(self) -> Checkpoint:
        """What ``restore`` needs, as long as no slot is evicted."""
        state = {
            name: self.slab[name].clone() for name in (*STATE, *self._rule.columns, *self._weights)
        }
        rows = {name: tensor.clone() for name, tensor in self.rows.items()}
        return Checkpoint(self.slab.length, self.columns, self.seen, state, rows)

    def restore(self, point: Checkpoint) -> None:
        """Take back every token since ``point``."""
        self.slab.truncate(point.length)
        for name, tensor in point.state.items():
            self.slab[name].copy_(tensor)
        self.columns, self.seen, self.rows = point.columns, point.seen, point.rows

    def select_rows(self, rows: Int[Tensor, " rows"]) -> None:
        """Make ``rows`` the new rows (repeats allowed)."""
        self.slab.select_rows(rows)
        self.seen = self.seen[rows.to(self.seen.device)]
        self.rows = {name: it[rows.to(it.device)] for name, it in self.rows.items()}

    def _begin(self, keys: Float[Tensor, "rows kv_heads new dim"]) -> None:
        rule, rows = self._rule, len(keys)
        precise = torch.float64 if keys.dtype == torch.float64 else torch.float32
        columns = {
            name: it
            for name, it in rule.columns.items()
            if it is not None and name not in rule.given
        }
        constant = {"forgotten": (False, torch.bool), "hidden": (False, torch.bool)}
        constant |= {name: (it, precise) for name, it in (columns | dict(self._weights)).items()}
        self.slab = Slab(constant)
        self.seen = torch.zeros(rows, dtype=torch.int32, device=keys.device)
        self.rows = {
            name: torch.full((rows,), it, dtype=torch.float64, device=keys.device)
            for name, it in rule.rows.items()
        }
