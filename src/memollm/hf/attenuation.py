"""Attenuation: what tokens that stay count for, as a mode says."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Bool
from torch import Tensor

from memollm.cache.slab import Slab
from memollm.modes.base import Mode, Treatment

NEUTRAL = {"key_scale": 1.0, "value_scale": 1.0, "bias": 0.0}  # parts of a treatment


def weights_of(mode: Mode) -> dict[str, float]:
    """The parts of its treatments by which a mode attenuates, and what changes nothing."""
    probe = mode.treat(torch.ones(1, 1), torch.zeros(1, 1, dtype=torch.bool))
    return {name: it for name, it in NEUTRAL.items() if getattr(probe, name) is not None}


def attenuate(
    slab: Slab,
    treatment: Treatment,
    names: Iterable[str],
    compounds: bool,
    active: Bool[Tensor, " rows"] | None,
) -> None:
    """Have tokens count for what ``treatment`` says, in place.

    Args:
        slab: with a tensor for each of ``names``.
        treatment: the new weights.
        names: the parts of it that attenuate.
        compounds: whether new weights multiply onto the old ones.
        active: rows that a compounding treatment is for; None: all.
    """
    for name in names:
        new = getattr(treatment, name)
        if compounds:
            new = slab[name] + new if name == "bias" else slab[name] * new
            if active is not None:
                new = torch.where(active[:, None], new, slab[name])
        slab[name].copy_(new)
