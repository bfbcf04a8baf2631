"""Each positional pattern once more, one query and one key at a time, in plain Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from memollm.attention.patterns.bigbird import BigBird
from memollm.attention.patterns.block import Block
from memollm.attention.patterns.dilated import Dilated
from memollm.attention.patterns.full import Full
from memollm.attention.patterns.global_tokens import GlobalTokens
from memollm.attention.patterns.local import Local
from memollm.attention.patterns.longformer import Longformer
from memollm.attention.patterns.random import Random
from memollm.attention.patterns.strided import Strided

PRIME = 2147483647


def drawn(block: int, draws: int, seed: int) -> set[int]:
    """Blocks that a block draws; the hash written with Python's integers."""

    def mix(*parts: int) -> int:
        state = 0
        for part in parts:
            for _ in range(2):
                state = pow((state + part + 1) * 48271 % PRIME, 5, PRIME)
        return state

    return {mix(seed, block, number) % (block + 1) for number in range(draws)}


def local(it: Local, q: int, k: int) -> bool:
    return k in range(q - it.window + 1, q + 1) or k < it.sinks


def dilated(it: Dilated, q: int, k: int) -> bool:
    return k in [q - j * it.dilation for j in range(it.window)] or k < it.sinks


def global_tokens(it: GlobalTokens, q: int, k: int) -> bool:
    def is_global(p: int) -> bool:
        return p < it.tokens or (it.every > 0 and p % it.every == 0)

    return q == k or is_global(q) or is_global(k)


def block(it: Block, q: int, k: int) -> bool:
    near = [q // it.size - j for j in range(it.near)]
    return k // it.size in near or k // it.size < it.first


def random(it: Random, q: int, k: int) -> bool:
    return k // it.size in drawn(q // it.size, it.draws, it.seed) | {q // it.size}


def bigbird(it: BigBird, q: int, k: int) -> bool:
    seen = drawn(q // it.size, it.draws, it.seed) | {q // it.size - j for j in range(it.near)}
    return k // it.size in seen | set(range(it.first))


def strided(it: Strided, q: int, k: int) -> bool:
    return q - k < it.window or (q - k) % it.stride == 0


def longformer(it: Longformer, q: int, k: int) -> bool:
    return k in [q - j * it.dilation for j in range(it.window)] or k < it.tokens


def full(it: Full, q: int, k: int) -> bool:
    return True


DEFINITIONS: dict[str, Callable[[Any, int, int], bool]] = {
    "local": local,
    "dilated": dilated,
    "global": global_tokens,
    "block": block,
    "random": random,
    "bigbird": bigbird,
    "strided": strided,
    "longformer": longformer,
    "full": full,
}
# Settings so small that 40 tokens show what they do.
SMALL: dict[str, list[dict[str, int]]] = {
    "local": [{"window": 7, "sinks": 2}, {"window": 1, "sinks": 0}],
    "dilated": [{"window": 4, "dilation": 3, "sinks": 1}, {"window": 5, "dilation": 1, "sinks": 0}],
    "global": [{"tokens": 3, "every": 7}, {"tokens": 2, "every": 0}, {"tokens": 0, "every": 1}],
    "block": [{"size": 5, "near": 2, "first": 1}, {"size": 4, "near": 1, "first": 0}],
    "random": [{"size": 3, "draws": 2, "seed": 5}, {"size": 4, "draws": 0}],
    "bigbird": [{"size": 4, "first": 1, "near": 2, "draws": 1}, {"size": 3, "first": 0, "near": 1}],
    "strided": [{"window": 3, "stride": 5}, {"window": 2, "stride": 1}],
    "longformer": [{"window": 4, "dilation": 2, "tokens": 3}, {"window": 6, "tokens": 0}],
    "full": [{}],
    "topk": [{"tokens": 5}, {"tokens": 1}],
    "lsh": [{"buckets": 6, "rounds": 2, "window": 2, "sinks": 1}, {"buckets": 1, "window": 1}],
}
