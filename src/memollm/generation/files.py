"""Files that are looked at before a model is loaded: prompts, and where results will go."""

from __future__ import annotations

import json
from pathlib import Path

FIELD = "prompt"


def read_prompts(path: Path) -> list[str]:
    """The prompts in ``path``.

    Args:
        path: ``.jsonl``: one object a line, its ``prompt`` a text (which may have several lines);
            any other file: one prompt a line, empty lines left out.

    Raises:
        ValueError: if there is none, or one that is no text.
        OSError: if the file cannot be read.
    """
    try:
        # Not splitlines(), which also cuts at characters that JSON leaves as they are.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"prompts={path} is not UTF-8 text: {error}") from error
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if path.suffix == ".jsonl":
        prompts = [_prompt(line, f"prompts={path}, line {number}") for number, line in numbered]
    else:
        prompts = [line for _, line in numbered]
    if not prompts:
        raise ValueError(f"prompts={path} holds no prompt: write one a line")
    return prompts


def require_empty(folder: Path, key: str) -> None:
    """Refuse a folder that holds something.

    Args:
        folder: where the files will go.
        key: its name for whoever gave it.

    Raises:
        ValueError: naming the key and the folder.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{key}={folder} is not allowed: it exists and is not an empty folder")


def _prompt(line: str, where: str) -> str:
    try:
        found = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where} is not JSON: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get(FIELD), str) or not found[FIELD]:
        raise ValueError(f'{where} is not allowed, it must be like {{"{FIELD}": "a text"}}')
    return found[FIELD]
