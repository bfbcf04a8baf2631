"""A layer that remembers: one attention layer's cache under one memory and one mode.

It owns the slab of one layer, attends to it, rehearses what was attended to and forgets. It knows
tensors only: how a Hugging Face model calls it is ``layer.py``'s affair.

The order of things, for every chunk of queries (a prompt's chunks, a decoded token):

    append   the chunk's pairs, with full strength and a clock at 0
    attend   in blocks of queries; each query rehearses the pairs before its own
    settle   ages, retention, the forgotten set; what the mode makes of them; eviction

Positions are counted per row and without pads, so that a left-padded row goes through the same
chunks, ages and sinks as it does alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memollm.attention.kernel import attend, head_mean
from memollm.attention.view import View
from memollm.cache.ledger import Ledger
from memollm.cache.packing import pack, packing, unpack
from memollm.cache.slab import Slab
from memollm.memory.aggregation import Council
from memollm.memory.ebbinghaus import Memory
from memollm.memory.forgetting import faded, over_budget, protected
from memollm.memory.rehearsal import rehearse
from memollm.memory.threshold import Threshold
from memollm.modes.base import Mode, Treatment

QUERY_BLOCK = 64  # queries whose scores are held at a time; see attention.kernel
STATE = ("position", "strength", "recalled", "forgotten", "hidden")  # slab tensors but K and V
FREE = -1  # position of a slot that holds no token


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
        threshold: Threshold,
        council: Council | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        self.memory, self.mode, self.threshold = memory, mode, threshold
        self.council, self.ledger = council, ledger
        self.slab = Slab()
        self.columns = 0  # tokens seen, pads and all: what positions of the model count
        self.seen = torch.zeros(0, dtype=torch.int32)  # tokens seen per row, without pads
        self.recording = False  # whether tokens may be taken back
        self._padded: list[tuple[int, Tensor]] = []  # first column and validity of padded passes
        self._checkpoints: list[Checkpoint] = []
        self._idle_until = 0.0  # columns before which nothing can have faded
        self._hides = False  # whether any slot is hidden
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
        batch, _, count, _ = queries.shape
        if not len(self.seen):
            self.seen = torch.zeros(batch, dtype=torch.int32, device=keys.device)
        if self._checkpoints:
            self._checkpoints = []
            self._evict()  # what died among tokens that have been accepted since
        if self.recording and self.columns and count == candidates + 1:
            self._checkpoints.append(self._checkpoint())
        order = None
        if valid is not None and not bool(valid.all()):
            if self.council is not None and count >= self.memory.prefill_chunk > 1:
                raise ValueError(
                    "memory.aggregation=vote is not supported for a padded batch whose prompt "
                    f"fills a chunk ({count} tokens, prefill_chunk={self.memory.prefill_chunk}): "
                    "its rows would vote at other tokens than they do alone. Use batches of one "
                    "length, a longer chunk, or memory.aggregation=layer"
                )
            order = packing(valid)
            self._padded.append((self.columns, valid))
            queries, keys, values = (pack(tensor, order) for tensor in (queries, keys, values))
            valid = valid.gather(1, order)
        else:
            valid = None
        outs: list[Tensor] = []
        shown: list[tuple[Tensor, Tensor]] | None = [] if weights else None
        for start, stop in self._chunks(count, candidates):
            part = None if valid is None else valid[:, start:stop]
            self._append(keys[:, :, start:stop], values[:, :, start:stop], part)
            self._attend(queries[:, :, start:stop], view, part, outs, shown)
            self._settle(None if part is None else part.any(dim=1))
            if self.recording and stop >= count - candidates:
                self._checkpoints.append(self._checkpoint())
        out = outs[0] if len(outs) == 1 else torch.cat(outs, dim=2)
        seen_by = None if shown is None else self._by_column(shown)
        if order is not None and valid is not None:
            out = unpack(out, order, valid)
            seen_by = None if seen_by is None else unpack(seen_by, order, valid)
            self._evict()
        return out, seen_by

    def _chunks(self, count: int, candidates: int) -> list[tuple[int, int]]:
        size, prompt = self.memory.prefill_chunk, count - candidates
        if self.council is not None and (prompt > size or candidates):
            raise ValueError(
                "memory.aggregation=vote decides across layers, so that one forward pass can "
                "hold one "
                f"chunk only: {count} tokens were passed, memory.prefill_chunk={size}. Pass "
                "the prompt "
                "in chunks (generate(..., prefill_chunk_size=...)) or use memory.aggregation=layer"
            )
        starts = [*range(0, prompt, size), *range(prompt, count)]
        return list(zip(starts, [*starts[1:], count], strict=True))

    def _append(
        self, keys: Tensor, values: Tensor, valid: Bool[Tensor, "batch queries"] | None
    ) -> None:
        count = keys.shape[2]
        position = self.seen[:, None]
        if count > 1:
            position = position + torch.arange(count, device=keys.device, dtype=torch.int32)
        if valid is not None:
            position = torch.where(valid, position, FREE)
            self._hides = True
            self.seen = self.seen + valid.sum(dim=1, dtype=torch.int32)
        else:
            self.seen = self.seen + count
        precise = torch.float64 if keys.dtype == torch.float64 else torch.float32
        constant: dict[str, tuple[float | bool, torch.dtype]] = {
            "strength": (self.memory.strength, precise),
            "forgotten": (False, torch.bool),
            "hidden": (False, torch.bool),
        }
        for name in self._attenuates:
            constant[name] = (0.0 if name == "bias" else 1.0, precise)
        self.slab.append(constant, keys=keys, values=values, position=position, recalled=position)
        if valid is not None:
            self.slab["hidden"][:, -count:] = ~valid
        self.columns += count

    def _attend(
        self,
        queries: Tensor,
        view: View,
        valid: Bool[Tensor, "batch queries"] | None,
        outs: list[Tensor],
        shown: list[tuple[Tensor, Tensor]] | None,
    ) -> None:
        """Add to ``outs`` block by block; rehearse, in the slab, what each query attended to."""
        slab, memory = self.slab, self.memory
        count = queries.shape[2]
        first = slab.length - count  # slot of the chunk's first pair
        rehearses = bool(memory.reinforcement) or memory.recall_threshold is not None
        for start in range(0, count, QUERY_BLOCK):
            stop = min(start + QUERY_BLOCK, count)
            pairs = first + stop
            names = [*self._attenuates, *(["hidden"] if self._hides else [])]
            block_view = replace(
                view, causal_tail=True, **{name: slab.head(name, pairs) for name in names}
            )
            keys, values = slab.head("keys", pairs), slab.head("values", pairs)
            block, weights = attend(queries[:, :, start:stop], keys, values, block_view)
            outs.append(block)
            if shown is not None:
                shown.append((weights, slab.head("position", pairs).clone()))
            if not rehearses:
                continue
            attention = head_mean(weights)
            attention.diagonal(offset=first + start, dim1=1, dim2=2).zero_()
            if valid is not None:
                attention = torch.where(valid[:, start:stop, None], attention, 0.0)
            rehearse(
                slab.head("strength", pairs), slab.head("recalled", pairs), attention,
                slab["position"][:, first + start : pairs],
                memory.reinforcement, memory.recall_threshold,
            )  # fmt: skip

    # --- forgetting ----------------------------------------------------------------------------

    def _settle(self, active: Bool[Tensor, " batch"] | None) -> None:
        """Apply retention at a chunk's end.

        Rows that are not ``active`` had no token in the chunk, so that nothing changes for them;
        only a treatment that compounds needs to be told.
        """
        eager = self.mode.graded or self.threshold.budget is not None or self.council is not None
        if not eager and self.columns < self._idle_until:
            return
        slab, memory = self.slab, self.memory
        position = slab["position"]
        retention = self._retention()
        spared = protected(position, self.seen, memory.sinks, memory.recent)
        present = (position >= 0) & ~slab["forgotten"]
        if self.threshold.budget is None:
            assert self.threshold.value is not None
            dying = faded(retention, self.threshold.value, spared) & present
        else:
            keep = torch.tensor(
                [self.threshold.keep(seen) for seen in self.seen.tolist()], device=position.device
            )
            dying = over_budget(retention, position, present, spared, keep)
        if self.council is None:
            self.forget(dying)
        else:
            self.council.vote(dying)
        if self.mode.graded:
            self._treat(active)
        elif not eager:
            self._idle_until = self.columns + self._idle_steps()

    def forget(self, tokens: Bool[Tensor, "batch pairs"]) -> None:
        """Forget ``tokens`` for good, and evict them if the mode does."""
        if not bool(tokens.any()):
            return
        slab = self.slab
        if self.ledger is not None:
            self.ledger.note(
                tokens, slab["position"], slab["strength"], slab["recalled"], self.seen
            )
        slab["forgotten"].logical_or_(tokens)
        if not self.mode.graded:
            self._treat()

    def _treat(self, active: Bool[Tensor, " batch"] | None = None) -> None:
        """Ask the mode what becomes of the tokens, and see to it."""
        slab, memory = self.slab, self.memory
        retention = None
        if self.mode.graded:
            spared = protected(slab["position"], self.seen, memory.sinks, memory.recent)
            retention = self._retention().masked_fill(spared, 1.0).to(slab["strength"].dtype)
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
            self._evict()

    def _evict(self) -> None:
        """Free hidden slots; not those of tokens that died while others may be taken back."""
        if self._checkpoints or not (self.mode.evicts and self._hides):
            return
        kept = ~self.slab["hidden"]
        counts = kept.sum(dim=1)
        self.slab.keep(kept)
        free = torch.arange(self.slab.length, device=counts.device) >= counts[:, None]
        self.slab["hidden"].copy_(free)
        self.slab["position"].masked_fill_(free, FREE)
        self._hides = bool(free.any())

    def _retention(self) -> Float[Tensor, "batch pairs"]:
        """R of every slot, in float64: the threshold is one number, whatever the model's dtype."""
        age = (self.seen[:, None] - 1 - self.slab["recalled"]).double() * self.memory.time_step
        return self.memory.retention.retention(age, self.slab["strength"].double())

    def _idle_steps(self) -> float:
        """Tokens for which no token can fade: strengths only grow, clocks only restart.

        One less than the exact bound, so that rounding here can never delay a death.
        """
        threshold, memory, slab = self.threshold.value, self.memory, self.slab
        if not threshold:
            return math.inf
        life = memory.retention.lifetime(threshold) / memory.time_step
        position = slab["position"]
        death = slab["recalled"] + slab["strength"] * life
        death = torch.maximum(death, (position + memory.recent).to(death.dtype))
        mortal = (position >= memory.sinks) & ~slab["forgotten"]
        left = torch.where(mortal, death - self.seen[:, None], torch.inf)
        newborn = max(memory.strength * life, memory.recent)
        return float(math.floor(min(float(left.min()), newborn)) - 1)

    # --- taking back, rearranging, reading -----------------------------------------------------

    def crop(self, count: int) -> None:
        """Take back the last ``count`` tokens: the memory is as if they had never been.

        Raises:
            RuntimeError: if they were not passed as candidates of the last forward pass.
        """
        if count == 0:
            self._checkpoints = []
            self._evict()
            return
        if count >= len(self._checkpoints):
            raise RuntimeError(
                f"cannot take back {count} tokens: a memory can go back only over candidates "
                "of the last "
                f"forward pass ({max(len(self._checkpoints) - 1, 0)} here), since what it "
                "forgot is gone"
            )
        point = self._checkpoints[-1 - count]
        self.slab.truncate(point.length)
        for name, tensor in point.state.items():
            self.slab[name].copy_(tensor)
        self.columns, self.seen = point.columns, point.seen
        self._checkpoints = []
        self._idle_until = 0.0
        self._evict()

    def _checkpoint(self) -> Checkpoint:
        names = (*STATE, *self._attenuates)
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
        self.__init__(self.memory, self.mode, self.threshold, self.council, self.ledger)

    def kept_tokens(self) -> float:
        """Tokens that are still seen, mean over rows."""
        if not self.columns:
            return 0.0
        return float((~self.slab["hidden"]).sum(dim=1).double().mean())

    def nbytes(self) -> int:
        """Bytes of keys, values and the memory's own state, of the slots in use."""
        return self.slab.nbytes()

    def _by_column(self, shown: list[tuple[Tensor, Tensor]]) -> Float[Tensor, "b h q columns"]:
        """Weights of each block, from slots to the model's columns, pads and all."""
        real = torch.ones(len(self.seen), self.columns, dtype=torch.bool, device=self.seen.device)
        for start, valid in self._padded:
            real[:, start : start + valid.shape[1]] = valid[:, : self.columns - start]
        columns = packing(real)  # of each position
        parts = []
        for weights, position in shown:
            spread = weights.new_zeros(*weights.shape[:3], self.columns + 1)
            column = columns.gather(1, position.clamp(min=0).long())
            column = torch.where(position < 0, self.columns, column)
            parts.append(spread.scatter_(3, column[:, None, None].expand_as(weights), weights))
        return torch.cat(parts, dim=2)[..., :-1]
