"""Could chance alone have made this difference? Tests that flip the sign of paired differences.

If a memory changed nothing, each difference to the baseline would be as likely to come out with
the other sign. The p-value is the share of all such flips that give a sum at least as far from
zero. Answers to one prompt are flipped together. Where each prompt has one answer, right or
wrong, this is McNemar's exact test (1947, Psychometrika 12, 153-157).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ENUMERATED = 16  # differences up to which all 2**n flips are tried
FLIPS = 19_999  # of them tried at random beyond
FEWEST = 6  # differences: the least number whose flips, 2 of 2**n, are rarer than 5 %
SEED = 0
NOISE = 1e-12  # relative; flips that differ by rounding alone are ties


def sign_flip(differences: NDArray[np.float64]) -> float:
    """Two-sided p-value of the sum of ``differences``, one entry a prompt.

    Exact for whole numbers of any count and for up to 16 others; beyond, of 19,999 random flips.

    >>> sign_flip(np.array([-1.0, -1, -1, -1, -1, -1]))
    0.03125
    """
    moved = differences[differences != 0]
    if not len(moved):
        return 1.0
    if np.all(moved == np.round(moved)):
        return _counted(np.abs(moved).astype(int), int(moved.sum()))
    return _enumerated(moved) if len(moved) <= ENUMERATED else _sampled(moved)


def _counted(sizes: NDArray[np.int_], total: int) -> float:
    """The distribution of the sum, one prompt after another."""
    reach = int(sizes.sum())
    chances = np.zeros(2 * reach + 1)
    chances[reach] = 1.0  # a sum of 0 stands in the middle
    for size in sizes:
        chances = (np.roll(chances, size) + np.roll(chances, -size)) / 2
    sums = np.arange(-reach, reach + 1)
    return min(1.0, float(chances[np.abs(sums) >= abs(total)].sum()))


def _enumerated(moved: NDArray[np.float64]) -> float:
    flips = np.arange(2 ** len(moved))[:, None] >> np.arange(len(moved)) & 1
    return float(_as_far((1.0 - 2.0 * flips) @ moved, moved).mean())


def _sampled(moved: NDArray[np.float64]) -> float:
    """With the flip that was observed counted in, so that p is never 0 (Phipson & Smyth, 2010)."""
    rng = np.random.default_rng(SEED)
    far = sum(
        int(_as_far((1.0 - 2.0 * rng.integers(0, 2, (some, len(moved)))) @ moved, moved).sum())
        for some in _portions(FLIPS, len(moved))
    )
    return (far + 1) / (FLIPS + 1)


def _as_far(sums: NDArray[np.float64], moved: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.abs(sums) >= abs(moved.sum()) - NOISE * np.abs(moved).sum()


def _portions(total: int, width: int) -> list[int]:
    """``total`` rows in blocks of about 8 MB."""
    block = max(1, 1_000_000 // width)
    return [min(block, total - start) for start in range(0, total, block)]
