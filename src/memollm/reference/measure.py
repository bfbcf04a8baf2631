"""The numbers of the model card: ``python -m memollm.reference.measure held_out=<text> ...``.

Everything is measured in float32 on text the model was not trained on.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from omegaconf import OmegaConf
from tokenizers import Tokenizer
from transformers import Qwen2ForCausalLM

from memollm.reference import text_path, weights_path
from memollm.reference.ablation import nearsighted
from memollm.reference.corpus import documents
from memollm.reference.library import Library, build_library, encode_documents, frequent_words
from memollm.reference.perplexity import (
    entropies,
    quality,
    reach,
    sliding_windows,
    spread_windows,
)
from memollm.reference.probes import PROBES, exact_match
from memollm.reference.trigram import Trigram

REACHES = (1024, 4096, 8192)  # tokens of the windows that tell what far context is worth
CONTEXT = 2048  # tokens of the windows of which the last half are scored, all text in all


@dataclass
class MeasureConfig:
    """What to measure, and on what."""

    model: str = str(weights_path())
    held_out: str = str(text_path())  # haystack and text, as corpus.documents reads it
    train_streams: list[str] = field(default_factory=list)  # .npy, for the trigram yardstick
    probes: list[str] = field(default_factory=lambda: list(PROBES))
    lengths: list[int] = field(default_factory=lambda: [1024, 2048, 4096])  # tokens
    samples: int = 200  # a cell
    text_windows: int = 64  # of 512 tokens; an eighth as many of 4096
    ablate_at: int = 0  # length at which layers are cut one by one; 0: not at all
    seed: int = 1234
    threads: int = 1


def measure(config: MeasureConfig) -> Iterator[dict[str, object]]:
    """One record a finding, as soon as it is found."""
    torch.set_num_threads(config.threads)
    model = Qwen2ForCausalLM.from_pretrained(config.model, dtype=torch.float32).eval()
    library = held_out_library(config)
    yield from _text(config, model, library)
    for length in config.lengths:
        for name in config.probes:
            score = exact_match(model, library, PROBES[name], length, config.samples, config.seed)
            yield {"probe": name, "length": length, "n": config.samples, "accuracy": score}
    if config.ablate_at:
        yield from _ablations(config, model, library)


def held_out_library(config: MeasureConfig) -> Library:
    tokenizer = Tokenizer.from_file(f"{config.model}/tokenizer.json")
    found = list(documents(config.held_out))
    words = frequent_words(found, at_least=2, most=4000)
    return build_library(tokenizer, [encode_documents(tokenizer, found)], [1.0], words)


def _text(
    config: MeasureConfig, model: Qwen2ForCausalLM, library: Library
) -> Iterator[dict[str, object]]:
    if not config.text_windows:
        return
    stream = library.streams[0]
    short = spread_windows(stream, 512, config.text_windows)
    found = quality(entropies(model, short), short, library)
    yield {"text": 512, "n": len(short), **vars(found)}
    half = CONTEXT // 2
    slid = sliding_windows(stream, CONTEXT, half)
    if len(slid):
        found = quality(entropies(model, slid)[:, -half:], slid[:, -half - 1 :], library)
        yield {"text": f"{half} tokens or more before each", "n": len(slid), **vars(found)}
    long = spread_windows(stream, 4096, max(1, config.text_windows // 8))
    losses = entropies(model, long)
    for first, last in ((256, 512), (512, 1024), (1024, 2048), (2048, 4095)):
        value = float(np.exp(losses[:, first:last].mean()))
        yield {"text": f"positions {first} to {last}", "n": len(long), "perplexity": value}
    for length in REACHES:
        windows = spread_windows(stream, length, config.text_windows)
        if len(windows):
            yield {"reach": length, "n": len(windows), **vars(reach(model, windows))}
    if config.train_streams:
        train = np.concatenate([np.load(path) for path in config.train_streams])
        trigram = Trigram(train, model.config.vocab_size)
        for name, windows in ((512, short), (f"last {half} of {CONTEXT}", slid[:, -half - 2 :])):
            if len(windows):
                value = float(np.exp(-np.mean([trigram.log_probabilities(it) for it in windows])))
                yield {"trigram": name, "n": len(windows), "perplexity": value}


def _ablations(
    config: MeasureConfig, model: Qwen2ForCausalLM, library: Library
) -> Iterator[dict[str, object]]:
    depth = model.config.num_hidden_layers
    half = list(range(depth // 2))
    cuts = [[], *([layer] for layer in range(depth)), half, list(range(depth // 2, depth))]
    draw, length = PROBES["ruler 4"], config.ablate_at
    windows = spread_windows(library.streams[0], length, 8)
    for cut in cuts:
        with nearsighted(model, cut, window=64):
            score = exact_match(model, library, draw, length, config.samples, config.seed)
            perplexity = float(np.exp(entropies(model, windows).mean()))
        yield {"cut": cut, "length": length, "accuracy": score, "perplexity": perplexity}


if __name__ == "__main__":
    schema = OmegaConf.structured(MeasureConfig)
    chosen = OmegaConf.to_object(OmegaConf.merge(schema, OmegaConf.from_dotlist(sys.argv[1:])))
    for record in measure(cast(MeasureConfig, chosen)):
        print(json.dumps(record), flush=True)
