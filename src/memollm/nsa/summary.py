"""What ``nsa_func`` returned of its weights, in numbers to print or log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def get_attention_weights_summary(
    attn_weights: Mapping[str, Mapping[str, Any]],
) -> dict[str, dict[str, float]]:
    """Mean, standard deviation, least and largest of everything, per component.

    Every value is a finite float: of block indices, how many blocks the queries have
    (``blocks_mean``, ...); a note is left out.

    >>> import torch
    >>> gates = {"g_cmp": torch.tensor([0.0, 1.0])}
    >>> get_attention_weights_summary({"gating_weights": gates})["gating_weights"]["g_cmp_std"]
    0.5
    """
    return {
        component: dict(
            number
            for name, shown in entries.items()
            if not isinstance(shown, str)
            for number in _numbers(name, shown)
        )
        for component, entries in attn_weights.items()
    }


def _numbers(name: str, shown: Tensor | float | int) -> list[tuple[str, float]]:
    if not isinstance(shown, Tensor):
        return [(name, float(shown))]
    if name == "block_indices":
        name, shown = "blocks", (shown >= 0).sum(-1)
    values = shown.detach().double()
    return [
        (f"{name}_mean", float(values.mean())),
        (f"{name}_std", float(values.std(correction=0))),  # one number has a deviation, too: 0
        (f"{name}_min", float(values.min())),
        (f"{name}_max", float(values.max())),
    ]
