"""Text made ready: tokenizer, token streams and words, computed once and kept in a folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from memollm.reference.config import TrainConfig
from memollm.reference.corpus import Document, documents, split_held_out
from memollm.reference.library import (
    Library,
    build_library,
    encode_documents,
    frequent_words,
)
from memollm.reference.tokenizer import train_tokenizer

SAMPLE = 200_000  # characters of each document the tokenizer is trained on: no novel dominates


def prepare(config: TrainConfig, folder: Path) -> Library:
    """The library of ``config``; read from ``folder`` when an equal one was written there."""
    fingerprint = _fingerprint(config)
    marker = folder / "prepared.json"
    if not (marker.exists() and json.loads(marker.read_text())["fingerprint"] == fingerprint):
        _write(config, folder)
        marker.write_text(json.dumps({"fingerprint": fingerprint}))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    streams = [np.load(folder / f"stream{i}.npy") for i in range(len(config.sources))]
    words = (folder / "words.txt").read_text().split()
    return build_library(tokenizer, streams, config.shares or [1.0] * len(streams), words)


def _write(config: TrainConfig, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if config.shares and len(config.shares) != len(config.sources):
        raise ValueError(f"{len(config.sources)} sources need as many shares, got {config.shares}")
    sources = [_training_part(source, config.held_out) for source in config.sources]
    tokenizer = train_tokenizer(
        (d.text[:SAMPLE] for found in sources for d in found), config.architecture.vocabulary
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    for number, found in enumerate(sources):
        np.save(folder / f"stream{number}.npy", encode_documents(tokenizer, found))
    words = frequent_words((d for found in sources for d in found), at_least=20, most=8000)
    (folder / "words.txt").write_text("\n".join(words))


def _training_part(source: str, held_out: Iterable[str]) -> list[Document]:
    train, kept = split_held_out(documents(source), held_out)
    if not train:
        raise ValueError(f"nothing to train on in {source}: {len(kept)} documents, all held out")
    return train


def _fingerprint(config: TrainConfig) -> str:
    parts = [list(config.sources), list(config.held_out), config.architecture.vocabulary]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
