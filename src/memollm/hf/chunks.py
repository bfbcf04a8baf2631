"""How a forward pass is cut: into chunks, after which tokens are forgotten, and those into blocks.

Chunks decide results, blocks do not: they are as large as the processor's cache has room for.
"""

from __future__ import annotations

from collections.abc import Iterator

from memollm.attention.plain import query_block


def chunks(count: int, candidates: int, size: int) -> list[tuple[int, int]]:
    """Chunks of ``size`` tokens, then one for each of the last ``candidates``.

    >>> chunks(9, 2, 4)
    [(0, 4), (4, 7), (7, 8), (8, 9)]
    """
    prompt = count - candidates
    starts = [*range(0, prompt, size), *range(prompt, count)]
    return list(zip(starts, [*starts[1:], count], strict=True))


def blocks(begin: int, silent: int, count: int, scores: int) -> Iterator[tuple[int, int]]:
    """Blocks of a chunk's queries from ``begin`` to ``count``.

    Args:
        begin: the first query.
        silent: queries of the chunk before the first that is observed; no block has both kinds.
        count: queries of the chunk.
        scores: bytes that each query needs, a number for each head and pair.
    """
    step = query_block(scores)
    for first, last in ((begin, silent), (max(begin, silent), count)):
        for start in range(first, last, step):
            yield start, min(start + step, last)
