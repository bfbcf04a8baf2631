"""Text to train on: documents from a file, a folder, an archive, or a ``datasets`` name.

Documents keep their names, since what is held out is held out by document: a passage of a novel
tells a language model much about the rest of that novel.
"""

from __future__ import annotations

import ast
import fnmatch
import re
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

TEXT_SUFFIXES = {".txt", ".tokens", ".md"}
_STRAIGHT = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "\ufeff": "", "\r": ""})
_WIKI_ARTICLE = re.compile(r"\n(?== [^=]+ =\n)")


@dataclass(frozen=True)
class Document:
    """One unit of holding out: a novel, an article, a module's docstrings."""

    name: str
    text: str


def documents(source: str) -> Iterator[Document]:
    """Documents of ``source``, in a fixed order.

    Args:
        source: a text file, a folder or an archive of text files (.tar.*, .zip); the word
            ``docstrings`` for those of the running Python's standard library; or
            ``datasets:<name>[:<config>[:<split>[:<column>]]]``.
    """
    if source == "docstrings":
        yield from _docstrings(Path(sysconfig.get_paths()["stdlib"]))
    elif source.startswith("datasets:"):
        yield from _dataset(*source.split(":")[1:])
    else:
        for name, raw in _files(Path(source).expanduser()):
            yield from _split(name, raw.decode("utf-8", errors="replace").translate(_STRAIGHT))


def split_held_out(
    found: Iterable[Document], held_out: Iterable[str]
) -> tuple[list[Document], list[Document]]:
    """Documents to train on and documents kept away, whose name matches a ``held_out`` glob."""
    patterns = list(held_out)
    train: list[Document] = []
    kept: list[Document] = []
    for document in found:
        matched = any(fnmatch.fnmatch(document.name, pattern) for pattern in patterns)
        (kept if matched else train).append(document)
    return train, kept


def _files(path: Path) -> Iterator[tuple[str, bytes]]:
    if path.is_dir():
        for child in sorted(path.rglob("*")):
            if child.suffix in TEXT_SUFFIXES:
                yield child.name, child.read_bytes()
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                if Path(name).suffix in TEXT_SUFFIXES:
                    yield Path(name).name, archive.read(name)
    elif path.is_file() and tarfile.is_tarfile(path):
        with tarfile.open(path) as archive:
            members = [m for m in archive.getmembers() if Path(m.name).suffix in TEXT_SUFFIXES]
            for member in sorted(members, key=lambda m: m.name):
                handle = archive.extractfile(member)
                if handle is not None:  # it is for folders and the like
                    yield Path(member.name).name, handle.read()
    elif path.is_file():
        yield path.name, path.read_bytes()
    else:
        raise FileNotFoundError(f"no text at {path}: give a file, a folder or an archive")


def _split(name: str, text: str) -> Iterator[Document]:
    if not name.endswith(".tokens"):
        yield Document(name, reflow(text))
        return
    for number, article in enumerate(_WIKI_ARTICLE.split(detokenise(text))):
        if len(article) > 200:  # shorter ones are headings cut off from their article
            yield Document(f"{name}#{number}", article)


def reflow(text: str) -> str:
    """Undo hard line breaks: a paragraph begins after an empty line or at an indented one."""
    paragraphs: list[list[str]] = [[]]
    for line in text.split("\n"):
        if not line.strip() or line[0].isspace():
            paragraphs.append([])
        paragraphs[-1].append(" ".join(line.split()))
    joined = (" ".join(filter(None, lines)) for lines in paragraphs)
    return "\n".join(filter(None, joined))


def detokenise(text: str) -> str:
    """Undo WikiText's spacing (`` @-@ ``, `` , ``) so that it reads as English is written."""
    for spaced, plain in ((" @-@ ", "-"), (" @,@ ", ","), (" @.@ ", "."), (" n't", "n't")):
        text = text.replace(spaced, plain)
    text = re.sub(r" ([,.;:!?)\]%]|'s\b|'\B)", r"\1", text)
    text = re.sub(r"([(\[]) ", r"\1", text)
    text = re.sub(r'" ([^"\n]*?) "', r'"\1"', text)
    return re.sub(r"\n\s*\n+", "\n", "\n".join(line.strip() for line in text.split("\n"))).strip()


def _docstrings(library: Path) -> Iterator[Document]:
    for path in sorted(library.glob("*.py")) + sorted(library.glob("[a-z]*/*.py")):
        if path.parent.name in {"test", "idlelib", "site-packages", "pydoc_data"}:
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue  # a few files of the library are templates, not Python
        owners = (ast.Module, ast.ClassDef, ast.FunctionDef)
        found = (ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, owners))
        text = "\n".join(dict.fromkeys(doc for doc in found if doc and len(doc) > 200))
        if text:
            yield Document(f"{path.parent.name}/{path.name}", text)


def _dataset(
    name: str, config: str = "", split: str = "train", column: str = "text"
) -> Iterator[Document]:
    from datasets import load_dataset  # slow to import, and needed by this branch alone

    for number, row in enumerate(load_dataset(name, config or None, split=split)):
        yield Document(f"{name}#{number}", str(dict(row)[column]).translate(_STRAIGHT))
