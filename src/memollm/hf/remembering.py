"""A layer that remembers: one attention layer's cache under one rule and one mode.

It owns the slab of one layer, attends to it, shows its rule what was attended to and forgets whom
the rule names. It knows tensors only: how a Hugging Face model calls it is ``layer.py``'s affair.

The order of things, for every chunk of queries (a prompt's chunks, a decoded token):

    append   the chunk's pairs
    attend   in blocks of queries, which the rule observes
    settle   the rule's verdict; what the mode makes of it; eviction

Positions are counted per row and without pads, so that a left-padded row goes through the same
chunks, ages and sinks as it does alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memollm.attention.kernel import attend, head_mean
from memollm.attention.plain import attend_plainly
from memollm.attention.view import View
from memollm.cache.ledger import Ledger
from memollm.cache.packing import pack, packing, unpack
from memollm.cache.slab import Slab
from memollm.hf.chunks import blocks, chunks
from memollm.hf.columns import Block, by_column
from memollm.memory.aggregation import Council, require_votable
from memollm.memory.ebbinghaus import Memory
from memollm.memory.forgetting import protected
from memollm.memory.prefill import observing
from memollm.memory.rule import FadingRule, Rule
from memollm.memory.tokens import Tokens
from memollm.modes.base import Mode, Treatment

STATE = ("position", "forgotten", "hidden")  # slab tensors but K, V and the rule's columns
FREE = -1  # position of a slot that holds no token
# While decoding, the dead are hidden and evicted together: after so many tokens, or once so many
# are dead or this share of the slots.
EVICT_AFTER, EVICT_SHARE = 16, 1 / 16


@dataclass(frozen=True)
class Checkpoint:
    """The memory as it was after some token, for tokens that may be taken back."""

    length: int
    columns: int
    seen: Tensor
    state: dict[str, Tensor]


class Remembering:
    """The cache of one memory layer."""

    def __init__(
        self,
        memory: Memory,
        mode: Mode,
        rule: Rule,
        layer: int = 0,
        council: Council | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        """``layer`` is the index among the memory layers."""
        if mode.graded and not isinstance(rule, FadingRule):
            raise ValueError(
                f"mode={type(mode).__name__} attenuates tokens by their retention, and "
                f"{type(rule).__name__} knows none: choose another mode or another policy"
            )
        self.memory, self.mode, self.rule, self.layer = memory, mode, rule, layer
        self.council, self.ledger = council, ledger
        self.slab = Slab()
        self.columns = 0  # tokens seen, pads and all: what positions of the model count
        self.recording = False  # whether tokens may be taken back
        self.seen = torch.zeros(0, dtype=torch.int32)  # tokens seen per row, without pads
        self._padded: list[tuple[int, Tensor]] = []  # first column and validity of padded passes
        self._checkpoints: list[Checkpoint] = []
        self._idle_until = 0.0  # columns before which nobody can die
        self._hides = False  # whether any slot is hidden
        self._dead = 0  # tokens that are hidden and not evicted, in the row that has most
        self._evict_at = 0  # columns at which they are evicted
        probe = mode.treat(torch.ones(1, 1), torch.zeros(1, 1, dtype=torch.bool))
        self._attenuates = [
            name
            for name in ("key_scale", "value_scale", "bias")
            if getattr(probe, name) is not None
        ]

    # --- attending -----------------------------------------------------------------------------

    def forward(
        self,
        queries: Float[Tensor, "batch heads queries dim"],
        keys: Float[Tensor, "batch kv_heads queries dim"],
        values: Float[Tensor, "batch kv_heads queries value_dim"],
        view: View,
        valid: Bool[Tensor, "batch queries"] | None = None,
        candidates: int = 0,
        weights: bool = False,
    ) -> tuple[Float[Tensor, "batch heads queries value_dim"], Tensor | None]:
        """Append, attend, settle: chunk by chunk.

        Args:
            queries: with positions already applied, as ``keys``.
            keys: of the same tokens.
            values: of the same tokens.
            view: scaling, softcap and sinks of the layer; the memory adds its own part.
            valid: False on pads, which are not stored; None: there are none.
            candidates: how many of the last tokens may be taken back; each is a chunk of its own.
            weights: whether to return attention weights (batch, heads, queries, columns), 0 where
                a token was forgotten.
        """
        count = queries.shape[2]
        if count == 1 and valid is None and not (weights or self.recording or self._checkpoints):
            return self._decode(queries, keys, values, view), None
        if self._checkpoints:
            self._checkpoints = []
            self.evict()  # what died among tokens that have been accepted since
        if self.recording and self.columns and count == candidates + 1:
            self._checkpoints.append(self._checkpoint())
        padded = valid is not None and not bool(valid.all())
        if self.council is not None:
            require_votable(self.memory.prefill_chunk, count, candidates, padded)
        order = None
        if valid is not None and padded:
            order = packing(valid)
            self._padded.append((self.columns, valid))
            queries, keys, values = (pack(tensor, order) for tensor in (queries, keys, values))
            valid = valid.gather(1, order)
        else:
            valid = None
        outs: list[Tensor] = []
        shown: list[Block] | None = [] if weights else None
        for start, stop in chunks(count, candidates, self.memory.prefill_chunk):
            part = None if valid is None else valid[:, start:stop]
            chunk = keys[:, :, start:stop], values[:, :, start:stop]
            position = self.append(*chunk, part)
            self._attend(queries[:, :, start:stop], position, view, part, outs, shown)
            self._settle(None if part is None else part.any(dim=1), stop - start)
            if self.recording and stop >= count - candidates:
                self._checkpoints.append(self._checkpoint())
        out = outs[0] if len(outs) == 1 else torch.cat(outs, dim=2)
        seen_by = None if shown is None else by_column(shown, self._padded, self.columns)
        if order is not None and valid is not None:
            out = unpack(out, order, valid)
            seen_by = None if seen_by is None else unpack(seen_by, order, valid)
            self.evict()
        return out, seen_by

    def _decode(self, queries: Tensor, keys: Tensor, values: Tensor, view: View) -> Tensor:
        """One token in every row: what ``forward`` does, in the fewest steps."""
        position, slab = self.append(keys, values), self.slab
        if self._hides or self._attenuates:
            view = self._view(view, slab.length)
        out, weights = attend(queries, slab["keys"], slab["values"], view)
        if self.rule.observes:
            state = {name: slab[name] for name in self.rule.columns}
            self.rule.observe(state, head_mean(weights), position, self.seen)
        self._settle(None, 1)
        return out

    def _view(self, view: View, pairs: int) -> View:
        """How the last of the first ``pairs`` slots see the others."""
        names = [*self._attenuates, *(["hidden"] if self._hides else [])]
        own = {name: self.slab.head(name, pairs) for name in names}
        return replace(view, causal_tail=True, **own)

    def append(
        self,
        keys: Float[Tensor, "batch kv_heads new dim"],
        values: Float[Tensor, "batch kv_heads new value_dim"],
        valid: Bool[Tensor, "batch new"] | None = None,
    ) -> Int[Tensor, "batch new"]:
        """Store the pairs of new tokens; ``valid`` is False on pads, which come last.

        Returns:
            Their positions, -1 for pads.
        """
        count = keys.shape[2]
        if not self.columns:
            self.slab = Slab(self._constant(keys.dtype))
            self.seen = torch.zeros(len(keys), dtype=torch.int32, device=keys.device)
        position = self.seen.unsqueeze(1)
        if count > 1:
            position = position + torch.arange(count, device=keys.device, dtype=torch.int32)
        if valid is not None:
            position = torch.where(valid, position, FREE)
            self._hides = True
            self.seen = self.seen + valid.sum(dim=1, dtype=torch.int32)
        else:
            self.seen = self.seen + count
        counting = {name: position for name, it in self.rule.columns.items() if it is None}
        self.slab.append(keys=keys, values=values, position=position, **counting)
        if valid is not None:
            self.slab["hidden"][:, -count:] = ~valid
        self.columns += count
        return position

    def _constant(self, dtype: torch.dtype) -> dict[str, tuple[float | bool, torch.dtype]]:
        """What every new slot holds, whatever token it is for."""
        precise = torch.float64 if dtype == torch.float64 else torch.float32
        columns = {name: it for name, it in self.rule.columns.items() if it is not None}
        scales = {name: 0.0 if name == "bias" else 1.0 for name in self._attenuates}
        return {
            "forgotten": (False, torch.bool),
            "hidden": (False, torch.bool),
            **{name: (value, precise) for name, value in (columns | scales).items()},
        }

    def _attend(
        self,
        queries: Tensor,
        position: Int[Tensor, "batch queries"],
        view: View,
        valid: Bool[Tensor, "batch queries"] | None,
        outs: list[Tensor],
        shown: list[Block] | None,
    ) -> None:
        """Add to ``outs`` block by block; let the rule observe what each query attended to."""
        slab, rule = self.slab, self.rule
        count = queries.shape[2]
        older = slab.length - count  # slots before the chunk's first pair
        silent, watched = observing(self.memory.prefill_reinforcement, count, valid)
        silent, begin = silent if rule.observes else count, 0
        changed = self._hides or self._attenuates or not view.plain or shown is not None
        if silent and not changed:
            known = slab.head("keys", older + silent), slab.head("values", older + silent)
            outs.append(attend_plainly(queries[:, :, :silent], *known, view.scaling))
            begin = silent
        for start, stop in blocks(begin, silent, count, queries.shape[1] * slab.length):
            pairs = older + stop
            known = slab.head("keys", pairs), slab.head("values", pairs)
            block, weights = attend(queries[:, :, start:stop], *known, self._view(view, pairs))
            outs.append(block)
            if shown is not None:
                shown.append((weights, slab.head("position", pairs).clone()))
            if start < silent:
                continue
            attention = head_mean(weights)
            if watched is not None:
                attention = torch.where(watched[:, start:stop, None], attention, 0.0)
            state = {name: slab.head(name, pairs) for name in rule.columns}
            rule.observe(state, attention, position[:, start:stop], self.seen)

    # --- forgetting ----------------------------------------------------------------------------

    def _settle(self, active: Bool[Tensor, " batch"] | None, count: int) -> None:
        """Let the rule decide after a chunk of ``count`` queries, and the mode act on it.

        Rows that are not ``active`` had no token in the chunk, so that nothing changes for them;
        only a treatment that compounds needs to be told.
        """
        eager = self.mode.graded or self.council is not None
        if eager or self.columns >= self._idle_until:
            tokens = self._tokens()
            dying = self.rule.dying(tokens)
            if not eager:
                left = replace(tokens, present=tokens.present & ~dying)
                self._idle_until = self.columns + self.rule.idle(left)
            if self.council is None:
                self.forget(dying)
            else:
                self.council.vote(dying)
            if self.mode.graded:
                self._treat(active)
        if self._dead and (count > 1 or self._must_evict()):
            self.evict()

    def _tokens(self) -> Tokens:
        slab, memory = self.slab, self.memory
        position, seen = slab["position"], self.seen
        return Tokens(
            self.layer,
            position,
            seen,
            (position >= 0) & ~slab["forgotten"],
            protected(position, seen, memory.sinks, memory.recent),
            slab["keys"],
            {name: slab[name] for name in self.rule.columns},
        )

    def forget(self, tokens: Bool[Tensor, "batch pairs"]) -> None:
        """Forget ``tokens`` for good: unseen from now on, and evicted soon if the mode does."""
        dying = int(tokens.sum(dim=1).max())
        if not dying:
            return
        slab = self.slab
        if self.ledger is not None:
            state = {name: slab[name] for name in self.rule.columns}
            self.ledger.note(tokens, slab["position"], self.seen, state)
        slab["forgotten"].logical_or_(tokens)
        if not self.mode.graded:
            self._treat()
        if not self._dead:
            self._evict_at = self.columns + EVICT_AFTER
        self._dead += dying
        if self.council is not None:
            self.evict()  # members' ballots are compared slot by slot

    def _treat(self, active: Bool[Tensor, " batch"] | None = None) -> None:
        """Ask the mode what becomes of the tokens, and see to it."""
        slab, retention = self.slab, None
        if self.mode.graded:
            assert isinstance(self.rule, FadingRule)
            tokens = self._tokens()
            retention = self.rule.retention(tokens).masked_fill(tokens.spared, 1.0)
            retention = retention.to(slab[self._attenuates[0]].dtype)
        treatment: Treatment = self.mode.treat(retention, slab["forgotten"])
        for name in self._attenuates:
            new = getattr(treatment, name)
            if self.mode.compounds:
                new = slab[name] + new if name == "bias" else slab[name] * new
                if active is not None:
                    new = torch.where(active[:, None], new, slab[name])
            slab[name].copy_(new)
        if treatment.keep is not None:
            slab["hidden"].copy_(~treatment.keep | (slab["position"] < 0))
            self._hides = True

    def _must_evict(self) -> bool:
        share = self._dead >= 1 + self.slab.length * EVICT_SHARE
        return share or self._dead >= EVICT_AFTER or self.columns >= self._evict_at

    def evict(self) -> None:
        """Free hidden slots; not those of tokens that died while others may be taken back."""
        if self._checkpoints or not (self.mode.evicts and self._hides):
            return
        kept = ~self.slab["hidden"]
        counts = kept.sum(dim=1)
        self.slab.keep(kept)
        free = torch.arange(self.slab.length, device=counts.device) >= counts[:, None]
        self.slab["hidden"].copy_(free)
        self.slab["position"].masked_fill_(free, FREE)
        self._hides, self._dead = bool(free.any()), 0

    # --- taking back, rearranging, reading -----------------------------------------------------

    def crop(self, count: int) -> None:
        """Take back the last ``count`` tokens: the memory is as if they had never been.

        Raises:
            RuntimeError: if they were not passed as candidates of the last forward pass.
        """
        if count == 0:
            self._checkpoints = []
            self.evict()
            return
        if count >= len(self._checkpoints):
            raise RuntimeError(
                f"cannot take back {count} tokens: a memory can go back only over candidates "
                f"of the last forward pass ({max(len(self._checkpoints) - 1, 0)} here), since "
                "what it forgot is gone"
            )
        point = self._checkpoints[-1 - count]
        self.slab.truncate(point.length)
        for name, tensor in point.state.items():
            self.slab[name].copy_(tensor)
        self.columns, self.seen = point.columns, point.seen
        self._checkpoints = []
        self._idle_until = 0.0
        self.evict()

    def _checkpoint(self) -> Checkpoint:
        names = (*STATE, *self.rule.columns, *self._attenuates)
        state = {name: self.slab[name].clone() for name in names}
        return Checkpoint(self.slab.length, self.columns, self.seen, state)

    def select_rows(self, rows: Int[Tensor, " rows"]) -> None:
        """Make ``rows`` of the batch the new batch (beams, several returned sequences)."""
        if not self.columns:
            return
        self.slab.select_rows(rows)
        self.seen = self.seen[rows.to(self.seen.device)]
        self._padded = [(start, valid[rows.to(valid.device)]) for start, valid in self._padded]
        if self.ledger is not None:
            self.ledger.select_rows(rows)

    def reset(self) -> None:
        """Empty the cache."""
        self.__init__(self.memory, self.mode, self.rule, self.layer, self.council, self.ledger)

    def kept_tokens(self) -> float:
        """Tokens that are still seen, mean over rows."""
        if not self.columns:
            return 0.0
        return float((~self.slab["hidden"]).sum(dim=1).double().mean())

    def nbytes(self) -> int:
        """Bytes of keys, values and the memory's own state, of the slots in use."""
        return self.slab.nbytes()
