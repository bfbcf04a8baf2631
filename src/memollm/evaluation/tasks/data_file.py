"""Reading data files: every complaint names the file, the line and the field."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAMES = {str: "text", list: "a list", dict: "an object", bool: "true or false", int: "a number"}


@dataclass(frozen=True)
class Field:
    """A value in a data file, and where it stands there."""

    value: Any
    where: str  # file, line and path of fields

    def __getitem__(self, name: str) -> Field:
        """A field of an object.

        Raises:
            ValueError: if it is none, or has no such field.
        """
        if not isinstance(self.value, dict):
            raise ValueError(f"{self.where} must be an object with the field {name!r}")
        if name not in self.value:
            raise ValueError(f"{self.where} lacks the field {name!r}")
        return Field(self.value[name], _join(self.where, name))

    def get(self, name: str, default: Any) -> Field:
        """A field of an object that may lack it."""
        present = isinstance(self.value, dict) and name in self.value
        return self[name] if present else Field(default, _join(self.where, name))

    def items(self) -> Iterator[Field]:
        """The elements of a list."""
        for i, value in enumerate(self.expect(list)):
            yield Field(value, _join(self.where, f"[{i}]"))

    def expect(self, kind: type) -> Any:
        """The value, which is a ``kind``.

        Raises:
            ValueError: if it is not.
        """
        if not isinstance(self.value, kind):
            raise ValueError(f"{self.where} must be {NAMES[kind]}, got {self.value!r:.60}")
        return self.value

    def text(self) -> str:
        """The value, a text that is not empty.

        Raises:
            ValueError: if it is not.
        """
        if not self.expect(str).strip():
            raise ValueError(f"{self.where} is empty")
        return self.value


def read_json(source: str, key: str) -> tuple[Field, str]:
    """A json file, and the SHA-256 of its bytes.

    Raises:
        ValueError: if it cannot be read as that.
    """
    text, digest = _read(source, key)
    return _parse(text, f"{key}: {Path(source).name}", first_line=1), digest


def read_json_lines(source: str, key: str) -> tuple[list[Field], str]:
    """The lines of a jsonl file, and the SHA-256 of its bytes; empty lines are passed over.

    Raises:
        ValueError: if it cannot be read as that.
    """
    text, digest = _read(source, key)
    name = f"{key}: {Path(source).name}"
    lines = enumerate(text.split("\n"), start=1)
    found = [_parse(line, f"{name}, line {i}", first_line=i) for i, line in lines if line.strip()]
    if not found:
        raise ValueError(f"{name} is empty")
    return found, digest


def _parse(text: str, where: str, first_line: int) -> Field:
    try:
        return Field(json.loads(text), where)
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        name = where.partition(", line ")[0]
        raise ValueError(
            f"{name}, line {line}, column {error.colno}: not json: {error.msg}"
        ) from error


def _read(source: str, key: str) -> tuple[str, str]:
    path = Path(source).expanduser()
    try:
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
        return raw.decode("utf-8-sig"), hashlib.sha256(raw).hexdigest()
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{key}: {path.name}, line {line} is not UTF-8 (byte {error.start}: {error.reason}). "
            f"Convert it: iconv -f <its encoding> -t utf-8 {path.name}"
        ) from error
    except (OSError, EOFError) as error:
        why = getattr(error, "strerror", None) or error
        raise ValueError(f"{key}={source!r} cannot be read: {why}") from error


def _join(where: str, name: str) -> str:
    if ", field " not in where:
        return f"{where}, field {name}"
    return where + name if name.startswith("[") else f"{where}.{name}"
