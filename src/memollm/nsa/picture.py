"""The weights of every branch as a picture: a row per head, a column per branch.

The only file of this room that imports matplotlib; nothing imports it but who wants a picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from torch import Tensor

from memollm.nsa.weights import compute_attention_weights_from_lse

INCHES = 2.6  # side of one picture
BRIGHTNESS = 0.4  # exponent of the colours: a long text's weights are small, and would look like 0


def draw_attention_weights(
    q: Tensor,
    k: Tensor,
    attn_weights: Mapping[str, Mapping[str, Any]],
    *,
    batch: int = 0,
    heads: Iterable[int] | None = None,
    block_size: int = 64,
    scale: float | None = None,
) -> Figure:
    """What each branch of ``nsa_func`` attended to, per head, as a figure to ``savefig``.

    Args:
        q: queries, as given to ``nsa_func``.
        k: keys, likewise.
        attn_weights: as returned with ``return_attn_weights``.
        batch: the row of the batch to show.
        heads: the query heads to show; None: all.
        block_size: as given to ``nsa_func``.
        scale: likewise.
    """
    shown = list(range(q.shape[2])) if heads is None else list(heads)
    if not shown or not set(shown) <= set(range(q.shape[2])):
        raise ValueError(f"heads must be some of 0 to {q.shape[2] - 1}, got {shown}")
    weights = _weights(q, k, attn_weights, batch, block_size, scale)
    size = (INCHES * len(weights) + 1, INCHES * len(shown) + 0.6)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(shown), len(weights), squeeze=False, sharex=True, sharey=True)
    norm = PowerNorm(BRIGHTNESS, vmin=0, vmax=1)
    queries, tokens = q.shape[1], k.shape[1]
    edges = (-0.5, tokens - 0.5, tokens - 0.5, tokens - queries - 0.5)
    image = None
    for row, head in zip(axes, shown, strict=True):
        for axis, (branch, of_branch) in zip(row, weights.items(), strict=True):
            image = axis.imshow(
                of_branch[head], norm=norm, extent=edges, aspect="auto", interpolation="nearest"
            )
            axis.set_title(f"{branch}, head {head}", fontsize=9)
            axis.tick_params(labelsize=8)
    figure.supxlabel("key position", fontsize=9)
    figure.supylabel("query position", fontsize=9)
    if image is not None:
        figure.colorbar(image, ax=axes, label="weight", ticks=[0, 0.01, 0.1, 0.5, 1])
    return figure


def _weights(
    q: Tensor,
    k: Tensor,
    attn_weights: Mapping[str, Mapping[str, Any]],
    batch: int,
    block_size: int,
    scale: float | None,
) -> dict[str, Tensor]:
    """(heads, queries, keys) of each branch that took part."""
    row = slice(batch, batch + 1)
    settings = {
        "compression": lambda entry: {},
        "selection": lambda entry: {"block_indices": entry["block_indices"][row]},
        "sliding_window": lambda entry: {"window_size": entry["window_size"]},
    }
    return {
        branch.replace("_", " "): compute_attention_weights_from_lse(
            entry["lse"][row],
            q[row].detach(),
            k[row].detach(),
            block_size=block_size,
            scale=scale,
            empty_rows="zero",
            **settings[branch](entry),
        )[0].cpu()
        for branch, entry in attn_weights.items()
        if branch in settings
    }
