"""Native sparse attention: the call."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, TypeAlias, overload

import torch
from torch import Tensor

from memollm.nsa.branches import Gates, Trace, attend
from memollm.nsa.means import BlockMeans
from memollm.nsa.request import (
    Backend,
    Request,
    check_lengths,
    check_request,
    check_tensors,
    one_block_count,
    slots,
)
from memollm.nsa.varlen import spans

Shown: TypeAlias = dict[str, dict[str, Any]]

NOTE = "the weights of the window follow from lse: compute_attention_weights_from_lse"


@overload
def nsa_func(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g_cmp: Tensor | None,
    g_slc: Tensor | None,
    g_swa: Tensor | None,
    *,
    block_size: int = ...,
    block_counts: int | Tensor = ...,
    window_size: int = ...,
    scale: float | None = ...,
    return_attn_weights: Literal[False] = ...,
    block_count: int | Tensor | None = ...,
    block_indices: Tensor | None = ...,
    means: BlockMeans | None = ...,
    cu_seqlens: Tensor | tuple[Tensor, Tensor] | None = ...,
    backend: str = ...,
) -> Tensor: ...
@overload
def nsa_func(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g_cmp: Tensor | None,
    g_slc: Tensor | None,
    g_swa: Tensor | None,
    *,
    block_size: int = ...,
    block_counts: int | Tensor = ...,
    window_size: int = ...,
    scale: float | None = ...,
    return_attn_weights: Literal[True],
    block_count: int | Tensor | None = ...,
    block_indices: Tensor | None = ...,
    means: BlockMeans | None = ...,
    cu_seqlens: Tensor | tuple[Tensor, Tensor] | None = ...,
    backend: str = ...,
) -> tuple[Tensor, Shown]: ...
def nsa_func(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g_cmp: Tensor | None,
    g_slc: Tensor | None,
    g_swa: Tensor | None,
    *,
    block_size: int = 64,
    block_counts: int | Tensor = 16,
    window_size: int = 512,
    scale: float | None = None,
    return_attn_weights: bool = False,
    block_count: int | Tensor | None = None,
    block_indices: Tensor | None = None,
    means: BlockMeans | None = None,
    cu_seqlens: Tensor | tuple[Tensor, Tensor] | None = None,
    backend: str = "torch",
) -> Tensor | tuple[Tensor, Shown]:
    """Native sparse attention (Yuan et al., 2025, arXiv:2502.11089), causal.

    o = g_cmp attention(means of complete blocks) + g_slc attention(tokens of selected blocks)
    + g_swa attention(the last window_size tokens).

    Selected are the query's own block, the one before, the first one, and those with the highest
    compressed attention, summed over the query heads that share a key-value head. The gates need
    not sum to 1. Gradients reach q, k, v and the gates; the choice of blocks has none. Nothing of
    size queries * keys is ever made.

    >>> q, k, v = torch.randn(3, 1, 200, 4, 32).unbind()
    >>> gate = torch.full((1, 200, 4), 1 / 3)
    >>> nsa_func(q, k, v, gate, gate, gate, block_size=16, block_counts=4, window_size=32).shape
    torch.Size([1, 200, 4, 32])

    Args:
        q: queries (batch M, heads H, dim), as (batch, M, H, dim): the last M of the N tokens.
        k: keys (batch, N, G, dim); H is a multiple of G, heads share keys with their neighbours.
        v: values (batch, N, G, value_dim).
        g_cmp: gate of the compression branch (batch, M, H); None leaves the branch out.
        g_slc: gate of the selection branch, likewise.
        g_swa: gate of the window branch, likewise.
        block_size: tokens of a block, compressed and selected.
        block_counts: blocks selected per query, exactly as many if there are; a tensor
            (batch, M, G) says it of each query.
        window_size: tokens that the window branch sees, the query's own included; 0: none.
        scale: of the scores; None: 1 / sqrt(dim).
        return_attn_weights: also return what the weights can be computed from.
        block_count: another spelling of ``block_counts``.
        block_indices: blocks to look into (batch, M, G, any), in place of the chosen ones; -1 is
            no block, and neither order nor repetition says anything.
        means: of k and v, kept along with a cache: decoding then reads few of the keys.
        cu_seqlens: the bounds of sequences packed into one row (batch 1); a tuple (of q, of k)
            where they differ. ``block_indices`` count from the beginning of each sequence.
        backend: "torch", or "fla" for the selection by flash-linear-attention on a GPU.

    Returns:
        Outputs (batch, M, H, value_dim); with ``return_attn_weights`` also a dict of dicts, with an
        entry for each branch that is not left out: "compression" {"lse", "block_indices"},
        "selection" {"lse", "block_indices"}, "sliding_window" {"lse", "window_size", "note"} and
        "gating_weights" {"g_cmp", "g_slc", "g_swa"}. "lse" (batch, H, M) is 0 for a query that
        sees nothing in that branch, "block_indices" is (batch, M, G, T).

    Raises:
        ValueError: an argument is out of range or does not fit the others.
    """
    given = {"g_cmp": g_cmp, "g_slc": g_slc, "g_swa": g_swa}
    check_tensors(q, k, v, given)
    counts = one_block_count(block_counts, block_count)
    if backend not in list(Backend):
        raise ValueError(f"backend must be one of {[*map(str, Backend)]}, got {backend!r}")
    request = Request(
        block_size,
        1,
        counts,
        window_size,
        q.shape[-1] ** -0.5 if scale is None else scale,
        Backend(backend),
        block_indices,
        means,
        return_attn_weights,
    )
    check_request(request, q, k)
    request = replace(request, selected=slots(counts))
    gates = Gates(g_cmp, g_slc, g_swa)
    if cu_seqlens is None:
        check_lengths(q.shape[1], k.shape[1])
        outputs, trace = attend(q, k, v, gates, request)
    else:
        if means is not None:
            raise ValueError("means are of one sequence per row and cannot go with cu_seqlens")
        outputs, trace = _packed(q, k, v, gates, request, cu_seqlens)
    if not return_attn_weights:
        return outputs
    return outputs, _shown(trace, given, window_size)


def _packed(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    gates: Gates,
    request: Request,
    cu_seqlens: Tensor | tuple[Tensor, Tensor],
) -> tuple[Tensor, Trace]:
    parts = []
    for mine, seen in spans(cu_seqlens, len(q), q.shape[1], k.shape[1]):
        check_lengths(mine.stop - mine.start, seen.stop - seen.start)
        own = Gates(*(None if gate is None else gate[:, mine] for gate in vars(gates).values()))
        asked = replace(
            request,
            block_counts=_cut(request.block_counts, mine),
            block_indices=_cut(request.block_indices, mine),
        )
        parts.append(attend(q[:, mine], k[:, seen], v[:, seen], own, asked))
    outputs, traces = zip(*parts, strict=True)
    return torch.cat(outputs, dim=1), Trace.join(list(traces))


def _cut(setting: Any, queries: slice) -> Any:
    """A setting's part for some queries, if it is one per query."""
    return setting[:, queries] if isinstance(setting, Tensor) else setting


def _shown(trace: Trace, gates: dict[str, Tensor | None], window_size: int) -> Shown:
    shown: Shown = {}
    if trace.cmp is not None:
        shown["compression"] = {"lse": trace.cmp, "block_indices": trace.indices}
    if trace.slc is not None:
        shown["selection"] = {"lse": trace.slc, "block_indices": trace.indices}
    if trace.swa is not None:
        shown["sliding_window"] = {"lse": trace.swa, "window_size": window_size, "note": NOTE}
    shown["gating_weights"] = {name: gate for name, gate in gates.items() if gate is not None}
    return shown
