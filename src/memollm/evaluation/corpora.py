"""Several texts in one evaluation, each with a name of its own: nothing is averaged over them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memollm.evaluation.rows import DATA_SUFFIXES
from memollm.evaluation.text import FILE_SUFFIXES, Text, load


@dataclass(frozen=True)
class Corpus:
    """A text, and what its metrics end in: ``label`` is empty where there is one text only."""

    label: str
    text: Text

    def named(self, metric: str) -> str:
        """The name of this corpus's ``metric``."""
        return f"{metric}_{self.label}" if self.label else metric

    def sample(self, window: str) -> str:
        """The id of the sample on one of its windows."""
        return f"{self.label}/{window}" if self.label else window


def corpora(sources: Any, column: str, key: str) -> tuple[Corpus, ...]:
    """The texts that ``sources``, one source or a list of them, stand for (see ``text.load``).

    A label is the file's name without its ending, or the data set's with configuration and split;
    of two that are alike, the second ends in _2.

    Raises:
        ValueError: if a source is none, comes twice, or cannot be read.
    """
    if isinstance(sources, str):
        return (Corpus("", load(sources, column, key)),)
    if not isinstance(sources, Sequence) or not sources:
        raise ValueError(f"{key}={sources!r} is not allowed: give a text, or a list of texts")
    taken: dict[str, str] = {}
    for source in sources:
        if not isinstance(source, str):
            raise ValueError(f"{key}={sources!r} is not allowed: {source!r} is not a text's name")
        if source in taken.values():
            raise ValueError(f"{key}={sources!r} is not allowed: {source!r} comes twice")
        taken[_label(source, taken)] = source
    return tuple(Corpus(label, load(source, column, key)) for label, source in taken.items())


def _label(source: str, taken: dict[str, str]) -> str:
    path = Path(source)
    name = path.stem if path.suffix.lower() in FILE_SUFFIXES | set(DATA_SUFFIXES) else source
    plain = re.sub(r"\W+", "_", name).strip("_") or "text"
    number, label = 1, plain
    while label in taken:
        number += 1
        label = f"{plain}_{number}"
    return label
