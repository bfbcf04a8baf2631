"""The tokens to draw from: streams of text, and the words that may serve as keys."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from tokenizers import Tokenizer

from memollm.reference.corpus import Document

END_OF_TEXT_ID = 0  # the first special token, between documents
# RULER's "noise" haystack (Hsieh et al., 2024, arXiv:2404.06654).
NOISE = (
    "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.\n"
)


@dataclass(frozen=True)
class Library:
    """Text streams with their shares, and what samplers need beside them."""

    tokenizer: Tokenizer
    streams: tuple[np.ndarray, ...]  # token ids, one array a source
    shares: tuple[float, ...]  # how often each stream is drawn; they sum to 1
    vocabulary: list[str]  # words of the text, for keys beyond the list of key words
    sentence_ends: np.ndarray  # bool by token id: a needle may follow this token

    def window(self, rng: np.random.Generator, length: int) -> np.ndarray:
        """A run of ``length`` tokens of one stream."""
        stream = self.streams[rng.choice(len(self.streams), p=self.shares)]
        start = int(rng.integers(0, len(stream) - length))
        return stream[start : start + length].astype(np.int64)

    def in_shares(self, shares: Sequence[float]) -> Library:
        """The same text, drawn in other shares; as before if there are none."""
        return replace(self, shares=_normalised(shares)) if shares else self

    def noise(self, length: int) -> np.ndarray:
        """The same five sentences over and over."""
        return np.resize(np.array(self.tokenizer.encode(NOISE).ids, dtype=np.int64), length)

    def snippet(self, rng: np.random.Generator, longest: int) -> str:
        """One to ``longest`` words of text, on one line."""
        tokens = self.window(rng, 4 * longest)
        words = self.tokenizer.decode(tokens.tolist()).replace("{", "").replace("}", "").split()
        return " ".join(words[1 : 1 + int(rng.integers(1, longest + 1))])


def build_library(
    tokenizer: Tokenizer, streams: Iterable[np.ndarray], shares: Iterable[float], words: list[str]
) -> Library:
    """Normalise the shares and find where sentences end."""
    texts = (tokenizer.decode([token]) for token in range(tokenizer.get_vocab_size()))
    ends = np.array([text.rstrip('"').endswith((".", "!", "?", "\n")) for text in texts])
    return Library(tokenizer, tuple(streams), _normalised(shares), words, ends)


def _normalised(shares: Iterable[float]) -> tuple[float, ...]:
    weights = np.array(list(shares), dtype=float)
    return tuple(float(share) for share in weights / weights.sum())


def encode_documents(tokenizer: Tokenizer, documents: Iterable[Document]) -> np.ndarray:
    """One stream of all documents, each closed by the end-of-text token."""
    parts: list[np.ndarray] = []
    for document in documents:
        paragraphs = document.text.splitlines(keepends=True)
        for encoding in tokenizer.encode_batch(paragraphs):
            parts.append(np.array(encoding.ids, dtype=np.uint16))
        parts.append(np.array([END_OF_TEXT_ID], dtype=np.uint16))
    return np.concatenate(parts)


def frequent_words(documents: Iterable[Document], at_least: int, most: int) -> list[str]:
    """Lower-case words of four to ten letters, the most frequent ``most`` of them, sorted."""
    counts: dict[str, int] = {}
    for document in documents:
        for word in document.text.split():
            if word.isalpha() and word.isascii() and word.islower() and 4 <= len(word) <= 10:
                counts[word] = counts.get(word, 0) + 1
    kept = sorted((w for w, n in counts.items() if n >= at_least), key=lambda w: (-counts[w], w))
    return sorted(kept[:most])
