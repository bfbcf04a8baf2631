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
        """Ney's estimate n1 / (n1 + 2 n2), from how many n-grams occur once and twice."""
        once, twice = (self.counts == 1).sum(), (self.counts == 2).sum()
        return float(once / (once + 2 * twice))


def log_probabilities(train: np.ndarray, held_out: np.ndarray, vocabulary: int) -> np.ndarray:
    """Natural log probability of every token of ``held_out`` from the third on.

    p(z|xy) = (c(xyz) - d)+ / c(xy*) + d N(xy*) / c(xy*) p(z|y), and below it the same with
    counts of distinct left contexts in place of counts (Kneser & Ney, 1995).
    """
    size = np.int64(vocabulary)
    x, y, z = (train[i : len(train) - 2 + i].astype(np.int64) for i in range(3))
    a, b, c = (held_out[i : len(held_out) - 2 + i].astype(np.int64) for i in range(3))
    trigrams = Counts.of((x * size + y) * size + z)
    contexts = Counts.of(x * size + y)
    followers = Counts.of(trigrams.codes // size)  # N(xy*)
    left = Counts.of(trigrams.codes % (size * size))  # in how many contexts yz was seen
    pairs = left.codes
    unigram = np.bincount(pairs % size, minlength=vocabulary) + 1.0
    unigram /= unigram.sum()
    totals = np.bincount(pairs // size, weights=left.counts, minlength=vocabulary)
    distinct = np.bincount(pairs // size, minlength=vocabulary)
    discount = left.discount()
    kept = np.maximum(left(b * size + c) - discount, 0)
    seen = np.maximum(totals[b], 1)
    back_off = np.where(totals[b] > 0, discount * distinct[b] / seen, 1.0)
    bigram = kept / seen + back_off * unigram[c]
    discount = trigrams.discount()
    context = a * size + b
    total = contexts(context)
    kept = np.maximum(trigrams(context * size + c) - discount, 0) / np.maximum(total, 1)
    back_off = np.where(total > 0, discount * followers(context) / np.maximum(total, 1), 1.0)
    return np.log(kept + back_off * bigram)
