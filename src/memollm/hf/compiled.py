"""A decoded token of one memory layer in one call: stored, attended to, rehearsed.

At short contexts a step consists of many small operations, whose number counts more than their
size; here they are one. What the kernel does not know (captures of weights, pads, tokens that may
be taken back, softcaps, sinks) goes through ``Remembering``'s other paths.
"""

from __future__ import annotations

import copy
import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from memollm.attention.kernel import attend, head_mean
from memollm.attention.view import View
from memollm.hf.store import Store
from memollm.memory.rule import Rule
from memollm.native.step import Step, fits, heads, scratch, shaped, threads

COUNTED = {"recalled"}  # columns beside the position that the kernel can begin


class CompiledStep:
    """The kernel, bound to the store of one layer."""

    def __init__(
        self, kernel: Callable[[Any], None], store: Store, rule: Rule, weights: Sequence[str]
    ) -> None:
        """``weights``: names of the store's tensors by which a mode attenuates."""
        self._kernel, self._store, self._rule, self._names = kernel, store, rule, weights
        self._step = Step()
        self._generation = -1  # of the slab whose addresses the step holds
        self._shape: tuple[object, ...] = ()  # of the tensors that it is known to fit
        self._room: list[Tensor] = []  # what only addresses hold on to
        self._weights: Tensor | None = None
        counted = {name for name, it in rule.columns.items() if it is None}
        self._knows_rule = counted <= COUNTED and not store.coded

    def __deepcopy__(self, memo: dict[int, Any]) -> CompiledStep:
        """Of the same layer's copy: addresses are bound anew."""
        store, rule = copy.deepcopy(self._store, memo), copy.deepcopy(self._rule, memo)
        return CompiledStep(self._kernel, store, rule, self._names)

    def knows(self, queries: Tensor, keys: Tensor, values: Tensor, view: View) -> bool:
        """Whether it can take this token of every row."""
        if not self._knows_rule or view.softcap is not None or view.sink_logits is not None:
            return False
        shape = (
            queries.shape, keys.shape, values.shape[3], queries.dtype, queries.stride(),
            keys.stride(), values.stride(), values.dtype, queries.device,
        )  # fmt: skip
        if shape != self._shape:
            if not fits(queries, keys, values):
                return False
            self._shape = shape
        return self._store.columns > 0

    def decode(
        self,
        queries: Float[Tensor, "rows heads 1 dim"],
        keys: Float[Tensor, "rows kv_heads 1 dim"],
        values: Float[Tensor, "rows kv_heads 1 value_dim"],
        view: View,
        inputs: Float[Tensor, "batch 1 width"] | None,
    ) -> Float[Tensor, "rows heads 1 value_dim"]:
        """Append the pairs, attend, and let the rule account for it."""
        store, rule, step = self._store, self._rule, self._step
        slab = store.slab
        slab.reserve(1)
        if slab.generation != self._generation:
            self._bind(queries, keys, values)
            step = self._step
        rows, count = queries.shape[:2]
        out = queries.new_empty(rows, 1, count, values.shape[3])
        position = store.seen
        step.queries, step.new_keys, step.new_values = heads(queries), heads(keys), heads(values)
        step.out, step.seen = out.data_ptr(), position.data_ptr()
        step.slots, step.scaling = slab.length + 1, view.scaling
        step.hidden = slab.whole("hidden").data_ptr() if store.hides else None
        step.threads = threads(step)
        given = rule.born(keys, inputs) if rule.given else {}
        slab.extend(**given)
        self._kernel(ctypes.byref(step))
        store.count_one()
        if rule.observes and rule.gains is None:
            assert self._weights is not None
            state = {name: slab[name] for name in rule.columns}
            attention = self._weights[:, : slab.length].unsqueeze(1)
            rule.observe(state, attention, position.unsqueeze(1), store.seen)
        return out.transpose(1, 2)

    def _bind(self, queries: Tensor, keys: Tensor, values: Tensor) -> None:
        """Read the addresses of the slab's tensors, which it has replaced."""
        slab, rule = self._store.slab, self._rule
        self._step = step = shaped(queries, keys, values, slab.capacity)
        step.keys, step.values = heads(slab.whole("keys")), heads(slab.whole("values"))
        room = scratch(step)
        self._room = [room]
        step.scratch = room.data_ptr()
        for name in ("position", *(it for it in COUNTED if it in rule.columns), *self._names):
            setattr(step, name, slab.whole(name).data_ptr())
        if rule.observes:
            self._weights = torch.zeros(step.rows, slab.capacity)
            step.weights = self._weights.data_ptr()
            if rule.gains is not None:
                step.strength = slab.whole("strength").data_ptr()
                step.reinforcement = rule.gains.reinforcement
                step.recalls = int(rule.gains.recall_threshold is not None)
                step.recall_threshold = rule.gains.recall_threshold or 0.0
        self._generation = slab.generation


def decode_plainly(
    store: Store,
    rule: Rule,
    queries: Float[Tensor, "rows heads 1 dim"],
    position: Int[Tensor, "rows 1"],
    view: View,
) -> Float[Tensor, "rows heads 1 value_dim"]:
    """The same by PyTorch, of a token whose pairs have been appended."""
    slab = store.slab
    out, weights = attend(queries, slab["keys"], slab["values"], view)
    if rule.observes:
        state = {name: slab[name] for name in rule.columns}
        rule.observe(state, head_mean(weights), position, store.seen)
    return out
