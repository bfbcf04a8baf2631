"""Feedback: a threshold that steers the share of kept tokens towards a target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from memollm.memory.retention import RetentionCurve
from memollm.memory.schedule import Schedule
from memollm.memory.tokens import Tokens
from memollm.registry import register


@register("schedule", "feedback")
@dataclass
class Feedback(Schedule):
    """After each chunk, the lifetime is multiplied by (wanted tokens / kept tokens) ** gain.

    And by as much as the text grew in that chunk, since a share of a longer text is more tokens.
    Of the tokens that the threshold leaves, the oldest (age in units of strength) that is not
    protected says what lifetime they come to (where it leaves none, the youngest that goes); the
    next threshold is the retention at that lifetime times the factor, within [low, high]. It rises
    only if too many are kept and falls only if too few are. Starting from what really survives, and
    not from the threshold, keeps the controller from winding up while nothing more can be kept or
    forgotten. The share is of the tokens seen; protected tokens count, and never fewer than those
    are wanted. Each row steers by itself.

    A budget meets its number exactly at every chunk's end; here the curve still decides alone who
    goes, and the number follows, late by some chunks: gain 1 answers a deviation at once, and
    swings where rehearsal answers back.
    """

    target: float = 0.25  # share of the tokens seen that are to be kept; in (0, 1)
    gain: float = 0.5  # share of a deviation, on a logarithmic scale, that is answered; in (0, 1]
    low: float = 1e-6  # least threshold; in (0, high]
    high: float = 0.99  # greatest threshold; below 1

    def __post_init__(self) -> None:
        for name, allowed, condition in (
            ("target", 0 < self.target < 1, "in (0, 1)"),
            ("gain", 0 < self.gain <= 1, "in (0, 1]"),
            ("low", 0 < self.low <= self.high, f"> 0 and at most schedule.high={self.high}"),
            ("high", self.high < 1, "< 1"),
        ):
            if not allowed:
                value = getattr(self, name)
                raise ValueError(f"schedule.{name}={value} is not allowed, it must be {condition}")

    def check(self, first: float) -> None:
        if not self.low <= first <= self.high:
            raise ValueError(
                f"threshold={first} is not allowed with schedule=feedback, it must lie between "
                f"schedule.low={self.low} and schedule.high={self.high}"
            )

    def rows(self, first: float) -> Mapping[str, float]:
        return {"threshold": first, "settled": 0.0}  # tokens seen when it last moved

    def threshold(self, first: float, tokens: Tokens) -> Float[Tensor, "batch 1"]:
        return tokens.rows["threshold"][:, None]

    def settle(
        self,
        retention: Float[Tensor, "batch pairs"],
        spent: Float[Tensor, "batch pairs"],
        tokens: Tokens,
        curve: RetentionCurve,
    ) -> None:
        """Rows without a token in the chunk stay as they are, as they do alone."""
        now, seen = tokens.rows["threshold"], tokens.seen.double()
        mortal = tokens.present & ~tokens.spared
        staying = mortal & (retention >= now[:, None])
        spared = (tokens.present & tokens.spared).sum(dim=1).double()
        kept = spared + staying.sum(dim=1)
        wanted = torch.maximum(self.target * seen, spared)
        oldest = torch.where(staying, spent, -torch.inf).amax(dim=1)
        youngest = torch.where(mortal, spent, torch.inf).amin(dim=1)
        moves = (seen > tokens.rows["settled"]) & mortal.any(dim=1)
        lifetime = torch.where(moves, torch.where(staying.any(dim=1), oldest, youngest), 0.0)
        growth = 1 + (seen - tokens.rows["settled"]) / seen.clamp(min=1.0)
        reach = lifetime * growth * (wanted / kept.clamp(min=1.0)) ** self.gain
        moved = curve.retention(reach, torch.ones_like(reach)).clamp(self.low, self.high)
        rises, falls = moves & (kept > wanted) & (moved > now), moves & (kept < wanted)
        now.copy_(torch.where(rises | (falls & (moved < now)), moved, now))
        tokens.rows["settled"].copy_(seen)

    def highest(self, first: float, tokens: Tokens) -> tuple[float, float]:
        return self.high, 0.0

    def ceiling(self, first: float) -> float:
        return self.high
