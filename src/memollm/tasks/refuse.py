"""What trainings refuse alike, before anything is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def require(name: str, value: object, allowed: bool, condition: str) -> None:
    """Raises ValueError unless ``allowed``: the key, the value and what it must be."""
    if not allowed:
        raise ValueError(f"{name}={value} is not allowed, it must be {condition}")


def require_sources(sources: Sequence[str], shares: Sequence[float] = ()) -> None:
    """Of ``task.sources``, as ``reference.corpus.documents`` reads them, and their shares."""
    if not sources:
        raise ValueError(
            "task.sources=[] is not allowed, there is nothing to train on: give text files, "
            "folders, archives, docstrings (of Python's library), or datasets:<name>"
        )
    for source in sources:
        named = source == "docstrings" or source.startswith("datasets:")
        if not named and not Path(source).expanduser().exists():
            raise ValueError(
                f"task.sources={source} is not allowed: there is no such file or folder; "
                "or give docstrings, or datasets:<name>"
            )
    if shares and (len(shares) != len(sources) or min(shares) < 0 or sum(shares) <= 0):
        raise ValueError(
            f"task.shares={list(shares)} is not allowed, it must be one share >= 0 for each of "
            f"{len(sources)} sources"
        )
