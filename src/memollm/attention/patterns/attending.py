"""Attention under a pattern: only what it lets through is read.

Queries are taken in blocks. A block's keys are those that the pattern can reach from it: a slice of
the cache, or gathered. What the pattern hides from single queries of the block is masked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memollm.attention.kernel import attend
from memollm.attention.patterns.base import ContentPattern, Pattern, PositionalPattern
from memollm.attention.plain import MOST, query_block
from memollm.attention.view import View

Slots = Int[Tensor, " slots"]
PER_TOKEN = ("key_scale", "value_scale", "bias")  # what a view says of each pair
GATHER = 0.5  # share of the keys below which a content pattern's choice is gathered


@dataclass(frozen=True)
class Cached:
    """The pairs of a cache; the last of them are the queries' own, in their order."""

    keys: Float[Tensor, "rows kv_heads pairs dim"]
    values: Float[Tensor, "rows kv_heads pairs value_dim"]
    position: Int[Tensor, "rows pairs"]  # -1: holds no token
    codes: Tensor | None  # (rows, kv_heads, pairs, _), of a pattern that has some
    ordered: bool  # whether every token lies in the slot of its position


@dataclass(frozen=True)
class Attended:
    """What a block of queries saw."""

    queries: Int[Tensor, " block"]  # which they are
    out: Float[Tensor, "rows heads block value_dim"]
    weights: Float[Tensor, "rows heads block slots"]
    slots: Slots  # ascending; the last of ``pairs`` is the last query's own
    pairs: int  # slots that are not later than every query

    def spread(self, weights: Float[Tensor, "*_ block slots"]) -> Float[Tensor, "*_ block pairs"]:
        """Weights over all slots up to ``pairs``: 0 where nothing was read."""
        if len(self.slots) == self.pairs:
            return weights
        whole = weights.new_zeros(*weights.shape[:-1], self.pairs)
        return whole.index_copy_(-1, self.slots, weights)


def attend_within(
    pattern: Pattern,
    queries: Float[Tensor, "rows heads queries dim"],
    position: Int[Tensor, "rows queries"],
    cached: Cached,
    view: View,
    in_order: bool,
) -> Iterator[Attended]:
    """Attention of the last pairs' queries over what ``pattern`` lets each of them see.

    Args:
        pattern: who sees whom, as far as it is not later.
        queries: with positions already applied.
        position: of each query, -1 for pads.
        cached: all pairs.
        view: everything else; its causal tail is implied.
        in_order: blocks are neighbouring queries, first to last; else of kin, in any order.
    """
    older, position = cached.keys.shape[2] - queries.shape[2], position.long()
    for chosen in _blocks(pattern, position, cached, queries.shape[1], in_order):
        asking, where = queries[:, :, chosen], position[:, chosen]
        pairs = older + int(chosen[-1]) + 1
        slots = _reached(pattern, where, cached, pairs)
        seen, slots = _seen(pattern, asking, where, cached, view, slots)
        narrow = {
            name: given[:, slots]
            for name in PER_TOKEN
            if (given := getattr(view, name)) is not None
        }
        own = replace(view, causal_tail=False, hidden=None, allowed=seen, **narrow)
        out, weights = attend(asking, _pick(cached.keys, slots), _pick(cached.values, slots), own)
        yield Attended(chosen, out, weights, slots, pairs)


def _blocks(
    pattern: Pattern,
    position: Int[Tensor, "rows queries"],
    cached: Cached,
    heads: int,
    in_order: bool,
) -> Iterator[Int[Tensor, " block"]]:
    """The queries, block by block, each ascending; as many as their scores have room for."""
    count, alike = position.shape[1], bool((position == position[:1]).all())
    order = torch.arange(count, device=position.device)
    groups = [order]
    if alike and not in_order and count > 1:
        kin = pattern.kin(position[0])
        groups = [order[kin == number] for number in torch.unique(kin)]
    for group in groups:
        reached = cached.keys.shape[2]
        if alike and isinstance(pattern, PositionalPattern):
            reached = len(pattern.reach(position[0, group[-MOST:]].clamp(min=0)))
        yield from group.split(query_block(4 * heads * reached))  # in single precision


def _reached(
    pattern: Pattern, where: Int[Tensor, "rows block"], cached: Cached, pairs: int
) -> Slots:
    """Slots of all keys that the pattern can reach from any of these queries."""
    if cached.ordered:
        return pattern.reach(where[0])
    position = cached.position[:, :pairs]
    last = max(int(position.max()), 0)
    alike = bool((where == where[:1]).all())
    wanted = position.new_zeros(1 if alike else len(where), last + 1, dtype=torch.bool)
    for row, mine in zip(wanted, where, strict=False):
        if len(real := mine[mine >= 0]):
            row[pattern.reach(real)] = True
    wanted = wanted.expand(len(position), -1)
    found = wanted.gather(1, position.clamp(min=0).long()) & (position >= 0)
    found[:, -1] = True  # a block of pads alone reaches nothing, and attends to something
    return found.any(dim=0).nonzero().squeeze(1)


def _seen(
    pattern: Pattern,
    asking: Float[Tensor, "rows heads block dim"],
    where: Int[Tensor, "rows block"],
    cached: Cached,
    view: View,
    slots: Slots,
) -> tuple[Bool[Tensor, "rows _ block _"], Int[Tensor, " _"]]:
    """Who sees whom among these slots, and those of them that anybody sees."""
    position = cached.position[:, slots]
    if view.hidden is not None:
        position = position.masked_fill(view.hidden[:, slots], -1)
    mine, theirs = where[:, :, None], position[:, None]
    seen = ((theirs <= mine) & (theirs >= 0))[:, None]
    if isinstance(pattern, PositionalPattern):
        seen = seen & pattern.visible(where.clamp(min=0), position)[:, None]
    else:
        assert isinstance(pattern, ContentPattern)
        codes = _pick(cached.keys if cached.codes is None else cached.codes, slots)
        seen = seen & pattern.visible(asking, codes, where, position)
        used = seen.flatten(0, 2).any(dim=0)
        if int(used.sum()) < GATHER * len(slots):
            used[-1] = True
            seen, slots = seen[..., used], slots[used]
    # A pad sees nothing, which would be 0/0; let it see everything, nobody reads it.
    return seen | (where < 0)[:, None, :, None], slots


def _pick(tensor: Tensor, slots: Slots) -> Tensor:
    """Some slots of (rows, heads, pairs, dim): a view where they are neighbours."""
    first, last = int(slots[0]), int(slots[-1])
    if last - first + 1 == len(slots):
        return tensor.narrow(2, first, len(slots))
    return tensor.index_select(2, slots)
