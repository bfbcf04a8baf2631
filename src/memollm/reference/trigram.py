"""An interpolated Kneser-Ney trigram: the yardstick for the model's perplexity.

Perplexities of different tokenizers cannot be compared, and a number alone says little; beside
a trigram model of the same tokens, trained on the same text, it says what the network adds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Counts:
    """Sorted n-gram codes with their counts, for look-up by binary search."""

    codes: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, codes: np.ndarray) -> Counts:
        return cls(*np.unique(codes, return_counts=True))

    def __call__(self, codes: np.ndarray) -> np.ndarray:
        places = np.searchsorted(self.codes, codes).clip(max=len(self.codes) - 1)
        return np.where(self.codes[places] == codes, self.counts[places], 0)

    def discount(self) -> float:
        """Ney's estimate n1 / (n1 + 2 n2), from how many n-grams occur once and twice.

        One is added to each, so that small texts do not divide by zero.
        """
        once, twice = (self.counts == 1).sum(), (self.counts == 2).sum()
        return float((once + 1) / (once + 1 + 2 * (twice + 1)))


class Trigram:
    """p(z|xy) = (c(xyz) - d)+ / c(xy*) + d N(xy*) / c(xy*) p(z|y), where N counts kinds.

    p(z|y) is the same one order lower, with the number of distinct left contexts in place of
    counts (Kneser & Ney, 1995, doi:10.1109/ICASSP.1995.479394).
    """

    def __init__(self, train: np.ndarray, vocabulary: int) -> None:
        self.size = np.int64(vocabulary)
        x, y, z = (train[i : len(train) - 2 + i].astype(np.int64) for i in range(3))
        self.trigrams = Counts.of((x * self.size + y) * self.size + z)
        self.contexts = Counts.of(x * self.size + y)
        self.followers = Counts.of(self.trigrams.codes // self.size)
        self.pairs = Counts.of(self.trigrams.codes % (self.size * self.size))
        first, second = self.pairs.codes // self.size, self.pairs.codes % self.size
        self.totals = np.bincount(first, weights=self.pairs.counts, minlength=vocabulary)
        self.kinds = np.bincount(first, minlength=vocabulary)
        unigram = np.bincount(second, minlength=vocabulary) + 1.0
        self.unigram = unigram / unigram.sum()

    def log_probabilities(self, tokens: np.ndarray) -> np.ndarray:
        """Natural log probability of every token from the third on."""
        x, y, z = (tokens[i : len(tokens) - 2 + i].astype(np.int64) for i in range(3))
        bigram = _interpolate(
            self.pairs(y * self.size + z),
            self.totals[y],
            self.kinds[y],
            self.pairs.discount(),
            self.unigram[z],
        )
        context = x * self.size + y
        trigram = _interpolate(
            self.trigrams(context * self.size + z),
            self.contexts(context),
            self.followers(context),
            self.trigrams.discount(),
            bigram,
        )
        return np.log(trigram)


def _interpolate(
    counts: np.ndarray, totals: np.ndarray, kinds: np.ndarray, discount: float, lower: np.ndarray
) -> np.ndarray:
    """Discounted counts, and what was taken off given to the lower order."""
    seen = np.maximum(totals, 1)
    back_off = np.where(totals > 0, discount * kinds / seen, 1.0)
    return np.maximum(counts - discount, 0) / seen + back_off * lower
