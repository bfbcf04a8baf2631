"""The presses there are, by the names that people type, and those that are refused and why."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from typing import Any

import kvpress  # pyright: ignore[reportMissingImports] - an optional extra
from memollm.kvpress.inside.ebbinghaus import EbbinghausPress
from memollm.registry import refusal

DECODING = (
    "it compresses while decoding, by scores of slots that an earlier compression has shuffled "
    "(github.com/NVIDIA/kvpress/issues/173): what it keeps is not what its name says"
)
FILES = "it needs files of the hub that were made for a few models, none of them loaded from a path"
PASSES = "it reads the context again by passes of its own, with a tokenizer that it loads itself"
# By class; what is abstract needs no words.
REFUSED = {
    "CAMPress": DECODING,
    "CompressionRatioDecodingPress": DECODING,
    "DecodingPress": DECODING,
    "PrefillDecodingPress": DECODING,
    "DuoAttentionPress": FILES,
    "ExpectedAttentionStatsPress": FILES,
    "FastKVzipPress": FILES,
    "KVzapPress": FILES,
    "LUKVPress": FILES,
    "QFilterPress": FILES,
    "RestoreKVPress": FILES,
    "KVgradPress": PASSES,
    "KVzipPress": PASSES,
    "FinchPress": "it needs a delimiter token, added to tokenizer, model and prompt",
}
# Settings that have a press act after the context, when it is no longer there.
WHILE_DECODING = {"DMSPress": "decoding"}
ABSTRACT = {"BasePress", "ScorerPress"}


def find(name: str, key: str) -> type:
    """The class of the press that ``name`` names.

    Args:
        name: as kvpress names the file or the class, whatever the case and with underscores or
            without; or an import path.
        key: the configuration key, for error messages.

    Raises:
        ValueError: if there is none, or it cannot be used here.
    """
    known = {_letters(cls.__name__.removesuffix("Press")): cls for cls in _classes()}
    if "." in name:
        cls = _imported(name, key)
    elif _letters(name).removesuffix("press") in known:
        cls = known[_letters(name).removesuffix("press")]
    else:
        raise refusal(key, name, allowed())
    if cls.__name__ in REFUSED and cls in known.values():
        raise ValueError(f"{key}={name!r} is not allowed: {REFUSED[cls.__name__]}")
    return cls


def allowed() -> list[str]:
    """The names of presses that can be used, as kvpress names their files."""
    return sorted(_name(cls) for cls in _classes() if cls.__name__ not in REFUSED)


def _classes() -> Iterator[type]:
    yield EbbinghausPress
    for name in sorted(vars(kvpress)):
        cls = getattr(kvpress, name)
        if isinstance(cls, type) and issubclass(cls, kvpress.BasePress) and name not in ABSTRACT:
            yield cls


def _name(cls: type) -> str:
    """As the file is called, where it holds one press; else as the class is."""
    plain = cls.__name__.removesuffix("Press").lower()
    file = cls.__module__.rpartition(".")[2].removesuffix("_press")
    return file if _letters(file) == plain else plain


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _imported(path: str, key: str) -> type:
    module, _, name = path.rpartition(".")
    try:
        cls: Any = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{key}={path!r} is not allowed: {error}") from error
    if not (isinstance(cls, type) and issubclass(cls, kvpress.BasePress)):
        raise ValueError(f"{key}={path!r} is not allowed, it is no kvpress.BasePress")
    return cls
