"""Retrieval probes: one question about facts in text never trained on, scored by exact match."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from transformers import Qwen2ForCausalLM

from memollm.reference import chains, keys, samples
from memollm.reference.facts import Fact
from memollm.reference.library import Library
from memollm.reference.model import autocast
from memollm.reference.pieces import Role
from memollm.reference.samples import Sample
from memollm.reference.wordings import KEPT_OUT, KEYLESS, NOTATIONS, RULER, Wording
from memollm.reference.words import NOUNS

Draw = Callable[[np.random.Generator, Library, int], Sample]


@dataclass(frozen=True)
class Facts:
    """A probe with ``count`` facts in one wording, one of them asked for."""

    count: int
    wording: Wording
    key: Callable[[np.random.Generator], str]
    thing: str = "special magic number"

    def __call__(self, rng: np.random.Generator, library: Library, length: int) -> Sample:
        drawn: dict[str, Fact] = {}
        while len(drawn) < self.count:
            key, value = self.key(rng), keys.number(rng, 7 if self.count == 1 else 5)
            statement = self.wording.statements[0]
            drawn[key] = Fact(key, value, self.thing, statement, self.wording.questions)
        return samples.needle(rng, library, length, list(drawn.values()), questions=1)


def _noun(rng: np.random.Generator) -> str:
    return NOUNS[rng.integers(len(NOUNS))]


_PASSKEY = Wording(KEYLESS.statements[:1], KEYLESS.questions[:1])
PROBES: dict[str, Draw] = {
    "passkey": Facts(1, _PASSKEY, _noun, "pass key"),
    "ruler 1": Facts(1, RULER, _noun),
    "ruler 4": Facts(4, RULER, _noun),
    "ruler 16": Facts(16, RULER, _noun),
    "json 8": Facts(8, NOTATIONS[0], _noun),
    "random keys 4": Facts(4, RULER, keys.random_string),
    **{f"kept out: {name}": Facts(1, wording, _noun) for name, wording in KEPT_OUT.items()},
    "variable tracking 2": lambda rng, library, length: chains.chain(
        rng, library, length, hops=2, chains=1
    ),
}


def answer_span(sample: Sample) -> slice:
    """The last run of answer tokens: what a greedy decoder would have to produce."""
    places = np.flatnonzero(sample.roles == Role.ANSWER)
    breaks = np.flatnonzero(np.diff(places) > 1)
    return slice(int(places[breaks[-1] + 1] if len(breaks) else places[0]), int(places[-1]) + 1)


@torch.no_grad()
def exact_match(
    model: Qwen2ForCausalLM,
    library: Library,
    draw: Draw,
    length: int,
    count: int,
    seed: int = 0,
    bfloat16: bool = False,
) -> float:
    """Share of ``count`` samples whose whole answer is the model's first choice.

    The answer is fed as it is scored; a greedy decoder is right exactly when every token is.
    """
    right = 0
    for number in range(count):
        rng = np.random.default_rng([seed, length, number])
        sample = draw(rng, library, length)
        span = answer_span(sample)
        tokens = torch.from_numpy(sample.tokens[: span.stop])[None].to(model.device)
        with autocast(model, bfloat16):
            kept = span.stop - span.start + 1
            logits = model(tokens, logits_to_keep=kept, use_cache=False).logits[0, :-1]
        right += bool((logits.argmax(-1) == tokens[0, span]).all())
    return right / count
