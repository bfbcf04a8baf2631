"""Sequences of different lengths behind each other in one row, as FlashAttention packs them."""

from __future__ import annotations

from torch import Tensor


def spans(
    cu_seqlens: Tensor | tuple[Tensor, Tensor], batch: int, queries: int, tokens: int
) -> list[tuple[slice, slice]]:
    """The queries and the keys of each sequence that has queries.

    Args:
        cu_seqlens: where the sequences begin and the last one ends, 0 first; two tensors where
            queries and keys differ.
        batch: rows, of which there must be one.
        queries: in that row.
        tokens: in that row.

    Raises:
        ValueError: what does not fit together.
    """
    if batch != 1:
        raise ValueError(f"with cu_seqlens all sequences lie in one row, got a batch of {batch}")
    both = cu_seqlens if isinstance(cu_seqlens, tuple) else (cu_seqlens, cu_seqlens)
    of_queries, of_keys = (bounds.tolist() for bounds in both)
    for name, bounds, total in (("q", of_queries, queries), ("k", of_keys, tokens)):
        if bounds != sorted(bounds) or bounds[:1] != [0] or bounds[-1] != total:
            raise ValueError(
                f"cu_seqlens must rise from 0 to the {total} tokens of {name}, got {bounds}"
            )
    if len(of_queries) != len(of_keys):
        raise ValueError(
            "cu_seqlens must name as many sequences for q as for k, got "
            f"{len(of_queries) - 1} and {len(of_keys) - 1}"
        )
    sequences = zip(of_queries, of_queries[1:], of_keys, of_keys[1:], strict=False)
    return [(slice(a, b), slice(c, d)) for a, b, c, d in sequences if a < b]
