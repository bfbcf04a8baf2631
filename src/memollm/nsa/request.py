"""What a caller asks of native sparse attention, refused before anything is computed if wrong."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from memollm.nsa.means import BlockMeans


class Backend(StrEnum):
    """Who computes the selection branch, the costly one."""

    torch = "torch"  # any device, any group size
    fla = "fla"  # flash-linear-attention's Triton kernels: pip install 'memollm[gpu]'


@dataclass(frozen=True)
class Request:
    """Everything of a call but its tensors (queries, keys, values, gates)."""

    block_size: int  # tokens
    selected: int  # slots for blocks of a query
    block_counts: int | Tensor  # blocks of a query; a tensor: of each query
    window_size: int  # tokens, the query's own included; 0: the window is empty
    scale: float  # of the scores
    backend: Backend
    block_indices: Tensor | None  # chosen by the caller
    means: BlockMeans | None  # at hand already
    inspect: bool  # whether log-sum-exps and indices are asked for


def one_block_count(block_counts: int | Tensor, block_count: int | Tensor | None) -> int | Tensor:
    """``block_counts`` under either of its two spellings."""
    if block_count is None:
        return block_counts
    if isinstance(block_counts, Tensor) or block_counts != 16:
        raise ValueError("block_count is another spelling of block_counts: give one of them")
    return block_count


def check_tensors(q: Tensor, k: Tensor, v: Tensor, gates: dict[str, Tensor | None]) -> None:
    """Shapes that fit together.

    Raises:
        ValueError: which do not, and what is allowed.
    """
    for name, tensor in (("q", q), ("k", k), ("v", v)):
        if tensor.ndim != 4 or not tensor.is_floating_point():
            raise ValueError(
                f"{name} must be of floats, (batch, tokens, heads, dim), got {tensor.dtype} "
                f"{tuple(tensor.shape)}"
            )
    if k.shape[:3] != v.shape[:3] or len({q.shape[0], k.shape[0]}) > 1:
        raise ValueError(
            "k and v must agree in batch, tokens and heads, and q in batch, got "
            f"q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}"
        )
    if q.shape[3] != k.shape[3] or len({q.dtype, k.dtype, v.dtype}) > 1:
        raise ValueError(
            "q and k must agree in their last dimension, and all of q, k, v in dtype, got "
            f"q {tuple(q.shape)} {q.dtype}, k {tuple(k.shape)} {k.dtype}, v {v.dtype}"
        )
    if k.shape[2] == 0 or q.shape[2] == 0 or q.shape[2] % k.shape[2]:
        raise ValueError(
            f"the heads of q must be a multiple of those of k, got {q.shape[2]} and {k.shape[2]}"
        )
    if all(gate is None for gate in gates.values()):
        raise ValueError("g_cmp, g_slc and g_swa are all None: nothing would be attended to")
    for name, gate in gates.items():
        if gate is not None and gate.shape != q.shape[:3]:
            raise ValueError(
                f"{name} must be (batch, queries, heads) = {tuple(q.shape[:3])}, "
                f"got {tuple(gate.shape)}"
            )


def check_lengths(queries: int, tokens: int) -> None:
    """At least one query, and a token for each."""
    if not 1 <= queries <= tokens:
        raise ValueError(
            "the queries are the last of the tokens: there must be at least one and at most as "
            f"many as keys, got {queries} queries and {tokens} keys"
        )


def check_request(request: Request, q: Tensor, k: Tensor) -> None:
    """Settings that make sense for these tensors.

    Raises:
        ValueError: which do not, and what is allowed.
    """
    _whole("block_size", request.block_size, 1)
    _whole("window_size", request.window_size, 0)
    per_query = (q.shape[0], q.shape[1], k.shape[2])  # batch, queries, key-value heads
    counts, indices, means = request.block_counts, request.block_indices, request.means
    if isinstance(counts, Tensor):
        if counts.shape != per_query or counts.is_floating_point() or bool((counts < 0).any()):
            raise ValueError(
                "block_counts must be an integer >= 1 or a tensor of integers >= 0, (batch, "
                f"queries, kv_heads) = {per_query}, got {counts.dtype} {tuple(counts.shape)}"
            )
    else:
        _whole("block_counts", counts, 1)
    if indices is not None and (
        indices.ndim != 4 or indices.shape[:3] != per_query or indices.is_floating_point()
    ):
        raise ValueError(
            "block_indices must be integers, (batch, queries, kv_heads, blocks) = "
            f"{(*per_query, 'any')}, got {indices.dtype} {tuple(indices.shape)}"
        )
    if means is not None and (means.block_size, means.tokens) != (request.block_size, k.shape[1]):
        raise ValueError(
            f"means must be of the {k.shape[1]} keys in blocks of {request.block_size}, got means "
            f"of {means.tokens} tokens in blocks of {means.block_size}"
        )


def slots(block_counts: int | Tensor) -> int:
    """How many blocks a query may have at most."""
    if isinstance(block_counts, torch.Tensor):
        return max(1, int(block_counts.max()))
    return block_counts


def _whole(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be an integer >= {least}, got {value!r}")
