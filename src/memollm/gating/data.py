"""What gates are trained on: samples whose questions come last, in any model's tokens."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from memollm.gating.config import GateTraining
from memollm.reference import chains, samples
from memollm.reference.corpus import documents, split_held_out
from memollm.reference.library import Library, build_library, frequent_words
from memollm.reference.pairs import pairs
from memollm.reference.samples import Sample

Draw = Callable[[np.random.Generator, Library, int], Sample]
KINDS: dict[str, Draw] = {
    "needle": samples.needle,
    "keyless": samples.keyless,
    "pairs": partial(pairs, identifiers=0.2),  # a UUID is longer than most budgets' share of it
    "dense": samples.dense,
    "chain": chains.chain,
}


def library(config: GateTraining, tokenizer: Tokenizer, folder: Path) -> Library:
    """Text to draw from, tokenised once and kept in ``folder``.

    Raises:
        FileNotFoundError: if a source is not there.
        ValueError: if nothing of one is left.
    """
    spelling = hashlib.sha256(tokenizer.to_str().encode()).hexdigest()
    parts = [config.sources, config.held_out, config.characters, spelling]
    folder = folder / hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
    if not (folder / "words.txt").exists():  # which is written last
        _write(config, tokenizer, folder)
    streams = [np.load(folder / f"stream{i}.npy") for i in range(len(config.sources))]
    words = (folder / "words.txt").read_text(encoding="utf-8").split()
    return build_library(tokenizer, streams, config.shares or [1.0] * len(streams), words)


def draw(config: GateTraining, text: Library, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens and roles (sequences, length) of a step: a function of seed and step alone."""
    rng = np.random.default_rng([config.seed, step])
    length = config.length_at(step)
    names = ["text", *KINDS]
    shares = [getattr(config, name) for name in KINDS]
    shares = [max(1 - sum(shares), 0.0), *shares]
    drawn = [
        samples.text(rng, text, length) if name == "text" else KINDS[name](rng, text, length)
        for name in rng.choice(names, config.sequences, p=np.array(shares) / sum(shares))
    ]
    return np.stack([it.tokens for it in drawn]), np.stack([it.roles for it in drawn])


def _write(config: GateTraining, tokenizer: Tokenizer, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for number, source in enumerate(config.sources):
        train, kept = split_held_out(documents(source), config.held_out)
        if not train:
            raise ValueError(f"nothing to train on in {source}: {len(kept)} documents, all kept")
        train = [replace(it, text=it.text[: config.characters]) for it in train]
        found += train
        encoded = tokenizer.encode_batch([it.text for it in train], add_special_tokens=False)
        stream = np.concatenate([np.array(it.ids, dtype=np.uint32) for it in encoded])
        np.save(folder / f"stream{number}.npy", stream)
    words = frequent_words(found, at_least=5, most=8000)
    (folder / "words.txt").write_text("\n".join(words), encoding="utf-8")
