"""A layer that remembers: one attention layer's cache under one rule and one mode.

It attends to the store of one layer, shows its rule what was attended to and forgets whom the rule
names. It knows tensors only: how a Hugging Face model calls it is ``layer.py``'s affair.

The order of things, for every chunk of queries (a prompt's chunks, a decoded token):

    append   the chunk's pairs
    attend   in blocks of queries, which the rule observes
    settle   the rule's verdict; what the mode makes of it; eviction

With ``memory.granularity=head`` each key-value head is a row of its own from ``forward`` on, and
all that follows is about rows (see ``heads``).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memollm.attention.kernel import attend
from memollm.attention.observed import attend_observed
from memollm.attention.plain import attend_plainly
from memollm.attention.view import View
from memollm.cache.ledger import Ledger
from memollm.cache.packing import pack, packing, unpack
from memollm.cache.slab import Slab
from memollm.hf.attenuation import attenuate, weights_of
from memollm.hf.chunks import blocks, chunks
from memollm.hf.columns import Block, by_column
from memollm.hf.compiled import CompiledStep, decode_plainly
from memollm.hf.heads import fold, fold_view, rows_of, unfold
from memollm.hf.patterned import attend_patterned
from memollm.hf.store import Checkpoint, Store
from memollm.memory.aggregation import Council, require_votable
from memollm.memory.ebbinghaus import Memory
from memollm.memory.granularity import Granularity
from memollm.memory.kernel import Kernel
from memollm.memory.prefill import observing
from memollm.memory.rule import FadingRule, Rule
from memollm.memory.strength.base import Reads
from memollm.memory.tokens import Tokens
from memollm.modes.base import Mode, Treatment
from memollm.native.attending import kernel

# While decoding, the dead are hidden and evicted together: after so many tokens, or once so many
# are dead or this share of the slots.
EVICT_AFTER, EVICT_SHARE = 16, 1 / 16


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
        self.by_head = memory.granularity is Granularity.head
        self.heads = 1  # rows of each sequence; as many as there are key-value heads, if by_head
        self.recording = False  # whether tokens may be taken back
        self._padded: list[tuple[int, Tensor]] = []  # first column and validity of padded passes
        self._checkpoints: list[Checkpoint] = []
        self._idle_until = 0.0  # columns before which nobody can die
        self._dead = 0  # tokens that are hidden and not evicted, in the row that has most
        self._evict_at = 0  # columns at which they are evicted
        fades = isinstance(rule, FadingRule)
        self._late = fades and memory.birth.reads is Reads.surprisal  # see settle_late
        self._unsettled: tuple[Tensor | None, Tensor | None] = None, None
        weights = weights_of(mode)
        self._attenuates = list(weights)
        self.store = Store(rule, weights, memory.pattern)
        compiled = None if memory.kernel is Kernel.torch else kernel()
        self._compiled = compiled and CompiledStep(compiled, self.store, rule, self._attenuates)

    @property
    def slab(self) -> Slab:
        """Where the pairs lie, row by row."""
        return self.store.slab

    @property
    def columns(self) -> int:
        """Tokens seen, pads and all."""
        return self.store.columns

    @property
    def seen(self) -> Int[Tensor, " batch"]:
        """Tokens seen of each sequence, without pads."""
        return self.store.seen[:: self.heads]

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
        inputs: Float[Tensor, "batch queries width"] | None = None,
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
            inputs: of the attention layer, for a rule that reads them.
        """
        if not self.by_head:
            return self._forward(queries, keys, values, view, valid, candidates, weights, inputs)
        batch, heads = keys.shape[:2]
        self.heads = heads
        if valid is not None:
            valid = valid.repeat_interleave(heads, dim=0)
        out, seen_by = self._forward(
            fold(queries, heads), fold(keys, heads), fold(values, heads),
            fold_view(view, batch, heads), valid, candidates, weights, inputs,
        )  # fmt: skip
        return unfold(out, heads), None if seen_by is None else unfold(seen_by, heads)

    def _forward(
        self,
        queries: Float[Tensor, "rows heads queries dim"],
        keys: Float[Tensor, "rows kv_heads queries dim"],
        values: Float[Tensor, "rows kv_heads queries value_dim"],
        view: View,
        valid: Bool[Tensor, "rows queries"] | None,
        candidates: int,
        weights: bool,
        inputs: Float[Tensor, "batch queries width"] | None,
    ) -> tuple[Float[Tensor, "rows heads queries value_dim"], Tensor | None]:
        count = queries.shape[2]
        plain = valid is None and not (weights or self.recording or self._checkpoints)
        if count == 1 and plain and not self.memory.pattern.limits:
            return self._decode(queries, keys, values, view, inputs), None
        if self._checkpoints:
            self._checkpoints = []
            self.evict()  # what died among tokens that have been accepted since
        if self.recording and self.columns and count == candidates + 1:
            self._checkpoints.append(self.store.checkpoint())
        padded = valid is not None and not bool(valid.all())
        if self.council is not None:
            require_votable(self.memory.prefill_chunk, count, candidates, padded)
        order = None
        if valid is not None and padded:
            order = packing(valid)
            self._padded.append((self.columns, valid))
            queries, keys, values = (pack(tensor, order) for tensor in (queries, keys, values))
            if inputs is not None:
                inputs = pack(inputs[:, None], order[:: self.heads])[:, 0]
            valid = valid.gather(1, order)
        else:
            valid = None
        outs: list[Tensor] = []
        shown: list[Block] | None = [] if weights else None
        for start, stop in chunks(count, candidates, self.memory.prefill_chunk):
            part = None if valid is None else valid[:, start:stop]
            chunk = keys[:, :, start:stop], values[:, :, start:stop]
            told = None if inputs is None else inputs[:, start:stop]
            position = self.store.append(*chunk, part, told)
            self._attend(queries[:, :, start:stop], position, view, part, outs, shown)
            if self._late:
                self._unsettled = part, order
            else:
                self._settle(None if part is None else part.any(dim=1), stop - start)
            if self.recording and stop >= count - candidates:
                self._checkpoints.append(self.store.checkpoint())
        out = outs[0] if len(outs) == 1 else torch.cat(outs, dim=2)
        seen_by = None if shown is None else by_column(shown, self._padded, self.columns)
        if order is not None and valid is not None:
            out = unpack(out, order, valid)
            seen_by = None if seen_by is None else unpack(seen_by, order, valid)
            if not self._late:
                self.evict()
        return out, seen_by

    def _decode(
        self, queries: Tensor, keys: Tensor, values: Tensor, view: View, inputs: Tensor | None
    ) -> Tensor:
        """One token in every row: what ``_forward`` does, in the fewest steps."""
        compiled = self._compiled
        if compiled is not None and compiled.knows(queries, keys, values, view):
            out = compiled.decode(queries, keys, values, view, inputs)
        else:
            position = self.store.append(keys, values, None, inputs)
            view = self._view(view, self.slab.length)
            out = decode_plainly(self.store, self.rule, queries, position, view)
        if self._late:
            self._unsettled = None, None
        else:
            self._settle(None, 1)
        return out

    def _view(self, view: View, pairs: int) -> View:
        """How the last of the first ``pairs`` slots see the others."""
        names = [*self._attenuates, *(["hidden"] if self.store.hides else [])]
        own = {name: self.slab.head(name, pairs) for name in names}
        return replace(view, causal_tail=True, **own)

    def _attend(
        self,
        queries: Tensor,
        position: Int[Tensor, "rows queries"],
        view: View,
        valid: Bool[Tensor, "rows queries"] | None,
        outs: list[Tensor],
        shown: list[Block] | None,
    ) -> None:
        """Add to ``outs`` block by block; let the rule observe what each query attended to."""
        store, slab, rule = self.store, self.slab, self.rule
        count = queries.shape[2]
        older = slab.length - count  # slots before the chunk's first pair
        silent, watched = observing(self.memory.prefill_reinforcement, count, valid)
        silent, begin = silent if rule.observes else count, 0
        if self.memory.pattern.limits:
            whole = self._view(view, slab.length)
            out = attend_patterned(
                self.memory.pattern, store, rule, queries, position, whole, silent, watched, shown
            )
            outs.append(out)
            return
        changed = store.hides or self._attenuates or not view.plain or shown is not None
        if silent and not changed:
            known = slab.head("keys", older + silent), slab.head("values", older + silent)
            compiled = self._compiled is not None
            outs.append(attend_plainly(queries[:, :, :silent], *known, view.scaling, compiled))
            begin = silent
        scores = queries.shape[1] * self.heads * slab.length * queries.element_size()
        for start, stop in blocks(begin, silent, count, scores):
            pairs = older + stop
            known = slab.head("keys", pairs), slab.head("values", pairs)
            block, now = queries[:, :, start:stop], self._view(view, pairs)
            if start < silent:
                out, weights = attend(block, *known, now)
                attention = None
            else:
                compiled, asked = self._compiled is not None, shown is not None
                observed = attend_observed(block, *known, now, compiled, asked)
                out, weights, attention = observed.out, observed.weights, observed.mean
                del observed
            outs.append(out)
            if shown is not None:
                assert weights is not None
                shown.append((weights, slab.head("position", pairs).clone()))
            del weights  # before the next block's are made, which are as large
            if attention is None:
                continue
            if watched is not None:
                attention = torch.where(watched[:, start:stop, None], attention, 0.0)
            rule.observe(store.state(pairs), attention, position[:, start:stop], store.seen)

    # --- forgetting ----------------------------------------------------------------------------

    def settle_late(self, strength: Float[Tensor, "batch queries"]) -> None:
        """Give the tokens of the last pass, one chunk, their strength, and settle only then."""
        valid, order = self._unsettled
        rows = strength.repeat_interleave(self.heads, dim=0)
        if order is not None:
            rows = rows.gather(1, order)
        self.slab["strength"][:, -rows.shape[1] :] = rows
        self._settle(None if valid is None else valid.any(dim=1), rows.shape[1])

    def _settle(self, active: Bool[Tensor, " rows"] | None, count: int) -> None:
        """Let the rule decide after a chunk of ``count`` queries, and the mode act on it.

        Rows that are not ``active`` had no token in the chunk, so that nothing changes for them;
        only a treatment that compounds needs to be told.
        """
        eager = self.mode.graded or self.council is not None
        if eager or self.columns >= self._idle_until:
            tokens = self.tokens()
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

    def tokens(self) -> Tokens:
        """The layer's tokens, as its rule sees them."""
        return self.store.tokens(self.layer, self.heads, self.memory.sinks, self.memory.recent)

    def forget(self, tokens: Bool[Tensor, "rows pairs"]) -> None:
        """Forget ``tokens`` for good: unseen from now on, and evicted soon if the mode does."""
        dying = int(tokens.sum(dim=1).max())
        if not dying:
            return
        store = self.store
        if self.ledger is not None:
            self.ledger.note(tokens, store.slab["position"], store.seen, store.state())
        store.slab["forgotten"].logical_or_(tokens)
        if not self.mode.graded:
            self._treat()
        if not self._dead:
            self._evict_at = self.columns + EVICT_AFTER
        self._dead += dying
        if self.council is not None:
            self.evict()  # members' ballots are compared slot by slot

    def _treat(self, active: Bool[Tensor, " rows"] | None = None) -> None:
        """Ask the mode what becomes of the tokens, and see to it."""
        slab, retention = self.slab, None
        if self.mode.graded:
            assert isinstance(self.rule, FadingRule)
            tokens = self.tokens()
            retention = self.rule.retention(tokens).masked_fill(tokens.spared, 1.0)
            retention = retention.to(slab[self._attenuates[0]].dtype)
        treatment: Treatment = self.mode.treat(retention, slab["forgotten"])
        attenuate(slab, treatment, self._attenuates, self.mode.compounds, active)
        if treatment.keep is not None:
            slab["hidden"].copy_(~treatment.keep | (slab["position"] < 0))
            self.store.hides = True

    def _must_evict(self) -> bool:
        share = self._dead >= 1 + self.slab.length * EVICT_SHARE
        return share or self._dead >= EVICT_AFTER or self.columns >= self._evict_at

    def evict(self) -> None:
        """Free hidden slots; not those of tokens that died while others may be taken back."""
        if self._checkpoints or not (self.mode.evicts and self.store.hides):
            return
        self.store.evict()
        self._dead = 0

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
        self.store.restore(self._checkpoints[-1 - count])
        self._checkpoints = []
        self._idle_until = 0.0
        self.evict()

    def select_rows(self, rows: Int[Tensor, " sequences"]) -> None:
        """Make ``rows`` of the batch the new batch (beams, several returned sequences)."""
        if not self.columns:
            return
        rows = rows_of(rows, self.heads)
        self.store.select_rows(rows)
        self._padded = [(start, valid[rows.to(valid.device)]) for start, valid in self._padded]
        if self.ledger is not None:
            self.ledger.select_rows(rows)

    def reset(self) -> None:
        """Empty the cache."""
        self.__init__(self.memory, self.mode, self.rule, self.layer, self.council, self.ledger)

    def kept_tokens(self) -> float:
        """Tokens that are still seen, mean over sequences and their heads."""
        return self.store.kept_tokens()

    def nbytes(self) -> int:
        """Bytes of keys, values and the memory's own state, of the slots in use.

        Rows share a slab, so that each takes as many slots as the one that keeps most.
        """
        return self.slab.nbytes()
