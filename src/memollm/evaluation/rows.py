"""Rows of a data set as documents: the only file of the evaluations that imports ``datasets``."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

# File suffix -> the loader of ``datasets`` that reads it.
DATA_SUFFIXES = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet"}
SPLITS = ("test", "validation", "train")  # the first one there is measured, unless named


def rows(source: str, column: str, key: str) -> tuple[str, ...]:
    """The ``column`` of every row, empty rows included, in the data set's order.

    Args:
        source: ``<name>[:<config>[:<split>]]``; the name may be a local file or folder, the
            config empty, the split anything ``datasets`` takes (``train[:1%]``).
        column: the column to read.
        key: the configuration key of ``source``, for error messages.

    Raises:
        ValueError: if it cannot be loaded, or has no such split or column.
    """
    name, config, split = (source.split(":", 2) + ["", ""])[:3]
    if Path(source).exists():  # a colon in a file's name
        name, config, split = source, "", ""
    loaded = _load(name, config, split, f"{key}={source!r}")
    if not split:
        found = [known for known in SPLITS if known in loaded]
        if not found:
            raise ValueError(
                f"{key}={source!r}: name a split, as {name}:{config}:<split>; there are "
                f"{', '.join(loaded)}"
            )
        loaded = loaded[found[0]]
    if column not in loaded.column_names:
        near = difflib.get_close_matches(column, loaded.column_names, n=1)
        raise ValueError(
            f"{key.rpartition('.')[0]}.column={column!r} is not in {source}, choose from "
            f"{', '.join(loaded.column_names)}" + (f"; did you mean {near[0]!r}?" if near else "")
        )
    texts = tuple(loaded[column])
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{key.rpartition('.')[0]}.column={column!r} of {source} is not all text")
    return texts


def _load(name: str, config: str, split: str, given: str) -> Any:
    # Slow to import, and needed for data sets alone.
    import datasets
    from datasets.exceptions import DatasetsError

    path = Path(name).expanduser()
    try:
        if path.is_file():
            loader = DATA_SUFFIXES.get(path.suffix.lower())
            if loader is None:
                raise ValueError("a text file has neither configuration nor split")
            return datasets.load_dataset(loader, data_files=str(path), split=split or None)
        target = str(path) if path.is_dir() else name
        return datasets.load_dataset(target, config or None, split=split or None)
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        raise ValueError(
            f"{given}: there is no file or folder {name!r} here ({Path.cwd()}), and as a data "
            f"set it cannot be loaded: {type(error).__name__}: {error}"
            if not path.exists()
            else f"{given}: {name!r} is there but cannot be loaded: {error}"
        ) from error
