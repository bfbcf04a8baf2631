"""Text to measure on: the bundled one, a local file, or any data set ``datasets`` can load."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from memollm.evaluation.base import Evaluation, Sample, Tokenizer
from memollm.evaluation.rows import DATA_SUFFIXES, rows
from memollm.reference import text_path

# What a data set's name never ends in: such a source is a file, there or missing.
FILE_SUFFIXES = {".txt", ".md", ".text", ".tokens", ".rst", ".log", *DATA_SUFFIXES}


@dataclass(frozen=True)
class Text:
    """Documents in a fixed order, and where they came from."""

    source: str
    documents: tuple[str, ...]

    @functools.cached_property
    def joined(self) -> str:
        """All documents as one, an empty line between two: how Hugging Face's guide joins rows."""
        return "\n\n".join(self.documents)

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the joined text: of a plain UTF-8 file, what ``sha256sum`` prints."""
        return hashlib.sha256(self.joined.encode()).hexdigest()


@dataclass
class TextEvaluation(Evaluation):
    """An evaluation on a text: which one, and that it is there and the same."""

    key: ClassVar[str]  # of the evaluation in a configuration, for error messages

    text: str = "bundled"  # or a text file, or <data set>[:<config>[:<split>]]
    column: str = "text"  # of a data set

    @functools.cached_property
    def _text(self) -> Text:
        return load(self.text, self.column, f"{self.key}.text")

    def prepare(self) -> None:
        _ = self._text

    def fingerprint(self) -> str:
        return self._text.fingerprint


def load(source: str, column: str, key: str) -> Text:
    """The text that ``source`` names.

    Args:
        source: ``bundled`` (English novels that the bundled model never saw); a UTF-8 text
            file, one document; or what ``datasets.load_dataset`` takes, one document a row:
            ``<name>``, ``<name>:<config>:<split>``, a folder, a .jsonl, .json, .csv or
            .parquet file.
        column: the column of a data set that holds the text.
        key: the configuration key of ``source``, for error messages.

    Raises:
        ValueError: if there is nothing to read.
    """
    path = text_path() if source == "bundled" else Path(source).expanduser()
    if source and path.is_file() and path.suffix.lower() not in DATA_SUFFIXES:
        documents = (_read(path, f"{key}={source!r}"),)
    elif source != "bundled" and not _must_be_a_file(source, path):
        documents = rows(source, column, key)
    else:
        raise ValueError(
            f"{key}={source!r}: there is no such file (looked for {path.absolute()}). It was "
            "read as a file, not as a data set, for how it is written. Allowed are: 'bundled', "
            "a UTF-8 text file, or a data set as <name> or <name>:<config>:<split>"
        )
    if not any(document.strip() for document in documents):
        raise ValueError(f"{key}={source!r}: the text is empty; give one with words in it")
    return Text(source, documents)


@functools.lru_cache(maxsize=2)  # the evaluations of a run ask for the same text
def tokenise(documents: tuple[str, ...], tokenizer: Tokenizer) -> tuple[tuple[int, ...], ...]:
    """Each document in tokens, none of them added by the tokenizer."""
    return tuple(tuple(tokenizer.encode(d, add_special_tokens=False)) for d in documents)


def byte_length(tokenizer: Tokenizer, ids: Sequence[int], start: int, stop: int) -> int:
    """Bytes of UTF-8 that ``ids[start:stop]`` decode to.

    A character split between two tokens counts where it ends, so that the parts of a text add
    up to the whole. A few earlier tokens are decoded along, since some tokenizers drop the space
    that a text begins with.
    """
    before = list(ids[max(0, start - 8) : start])
    whole, head = tokenizer.decode(before + list(ids[start:stop])), tokenizer.decode(before)
    return len(whole.rstrip("\ufffd").encode()) - len(head.rstrip("\ufffd").encode())


def require_one_text(samples: Sequence[Sample], given: str) -> None:
    """Refuse to average over samples of two texts: a resumed run whose file was edited meanwhile.

    Raises:
        ValueError: if their fingerprints differ.
    """
    if len({sample["text"] for sample in samples}) > 1:
        raise ValueError(
            f"{given} has changed since some of these samples were measured; measure all of "
            "them anew (force=true)"
        )


def _read(path: Path, given: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{given}: {path.name} is not UTF-8 (byte {error.start}: {error.reason}). Convert "
            f"it: iconv -f <its encoding> -t utf-8 {path.name}"
        ) from error
    except OSError as error:
        raise ValueError(f"{given}: {path.name} cannot be read: {error.strerror}") from error


def _must_be_a_file(source: str, path: Path) -> bool:
    folder = Path(source.split(":")[0]).expanduser()  # ahead of a configuration and a split
    if not source or path.exists() or folder.exists():
        return not source
    return source[0] in "./~\\" or path.suffix.lower() in FILE_SUFFIXES
