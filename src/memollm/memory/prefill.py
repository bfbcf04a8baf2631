"""Which queries of a prompt rehearse what they attend to: exactness against time."""

from __future__ import annotations

from enum import StrEnum

import torch
from jaxtyping import Bool
from torch import Tensor

WINDOW = 64  # queries


class PrefillReinforcement(StrEnum):
    """Which queries of a chunk of several tokens are observed; a token alone always is.

    All of them is what decoding token by token does. The last ones alone stand for the rest in
    SnapKV (Li et al., 2024, arXiv:2404.14469): what a prompt's end attends to is what its answer
    will. Queries that are not observed need no attention weights, so that faster kernels can serve
    them.
    """

    exact = "exact"  # every query
    window = "window"  # the last ``WINDOW`` queries of each chunk
    none = "none"  # no query


def observing(
    kind: PrefillReinforcement, count: int, valid: Bool[Tensor, "batch queries"] | None = None
) -> tuple[int, Bool[Tensor, "batch queries"] | None]:
    """The first query that is observed of a chunk's ``count``, and where rows differ, which are.

    ``valid`` is False on pads, which come last; a row is observed as it would be alone.

    >>> observing(PrefillReinforcement.window, 256)
    (192, None)
    """
    if valid is None:
        if kind is PrefillReinforcement.exact or count == 1:
            return 0, None
        return (max(count - WINDOW, 0) if kind is PrefillReinforcement.window else count), None
    tokens = valid.sum(dim=1, keepdim=True)
    if kind is PrefillReinforcement.window:
        return 0, valid & (torch.arange(count, device=valid.device) >= tokens - WINDOW)
    if kind is PrefillReinforcement.none:
        return 0, valid & (tokens == 1)
    return 0, valid
