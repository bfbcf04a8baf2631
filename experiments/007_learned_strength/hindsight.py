"""How many key-value pairs can be answered at a budget: what fits, and what hindsight does.

    python experiments/007_learned_strength/hindsight.py [prompts at each depth]

Layer 2 of the bundled model, which retrieves, is told at birth which tokens to keep; everything
else is kept by recency. ``its value``: the value asked for and the quote after it, eight tokens, as
if the question were known. ``values of all``: those of every pair, which is the most that a memory
can wish for that does not know the question; the newest that fit stay.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from memollm.evaluation.asking import Asking
from memollm.evaluation.key_value import KeyValueRetrieval
from memollm.evaluation.tasks.niah import Thing
from memollm.hf.models import ReferenceModel
from memollm.hf.subject import HFSubject
from memollm.memory.ebbinghaus import Memory
from memollm.memory.strength.base import Reads, Source, Strength
from memollm.modes.sparse_attention import SparseAttention

LENGTH = 512  # tokens of a prompt, as in the table
RETRIEVING, ALWAYS, FADING = 2, 1e9, 500.0  # the layer; lifetimes in tokens
PAIR = re.compile(r'"\d+": "(\d+)"')


class Counting:
    """Strengths by position, counted from the first token on."""

    def __init__(self, kept: frozenset[int], time_step: float) -> None:
        self.kept, self.time_step, self.seen = kept, time_step, 0

    def __call__(
        self,
        keys: Float[Tensor, "rows heads new dim"],
        inputs: Float[Tensor, "batch new width"] | None,
    ) -> Float[Tensor, "rows new"]:
        places = range(self.seen, self.seen + keys.shape[2])
        self.seen += keys.shape[2]
        lifetimes = [ALWAYS if place in self.kept else FADING for place in places]
        return torch.tensor([lifetimes]) * self.time_step


@dataclass
class Told(Strength):
    """Positions that the retrieving layer keeps."""

    reads: ClassVar[Reads] = Reads.keys

    kept: frozenset[int] = field(default_factory=frozenset)

    @property
    def rehearses(self) -> bool:
        return False

    def sources(self, layers: Sequence[int], unit: float, time_step: float) -> list[Source | None]:
        return [
            Counting(self.kept if layer == RETRIEVING else frozenset(), time_step)
            for layer in layers
        ]


def values(words: list[str], wanted: str | None) -> frozenset[int]:
    """Tokens of the value ``wanted``, or of all values, and of the quotes after them."""
    ends, text = [0], "".join(words)
    for word in words:
        ends.append(ends[-1] + len(word))
    spans = [it.span(1) for it in PAIR.finditer(text) if wanted in (None, it.group(1))]
    return frozenset(
        place
        for place in range(len(words))
        for begin, end in spans
        if ends[place + 1] > begin and ends[place] <= end
    )


def main(prompts: int) -> None:
    loaded = ReferenceModel().load()
    asked = KeyValueRetrieval(
        lengths=[LENGTH], samples_per_cell=prompts, keys=Thing.numbers, values=Thing.numbers,
        asking=Asking.unseen, tokens_to_generate=12,
    )  # fmt: skip
    plain: Any = HFSubject(loaded.model, loaded.tokenizer, Memory(), SparseAttention())
    material = asked._material(plain)
    names = [(f"{LENGTH}/{at:g}/{i}", at, i) for at in asked.depths for i in range(prompts)]
    for budget in (0.25, 0.1):
        for telling in ("its value", "values of all"):
            right, tokens = [], []
            for name, depth, index in names:
                example = asked._example(material, name, LENGTH, depth, index)
                ids = material.encoder.prompt(example).ids
                words = [str(loaded.tokenizer.decode([it])) for it in ids]
                kept = values(words, example.answers[0] if telling == "its value" else None)
                memory = Memory(birth=Told(kept=kept), budget=budget, layer_fraction=1.0)
                told: Any = HFSubject(loaded.model, loaded.tokenizer, memory, SparseAttention())
                sample = asked._ask(told, material, name, LENGTH, depth, index)
                right.append(sample["correct"])
                tokens.append(len(kept))
            share = sum(right) / len(right)
            print(f"{budget:.0%}, {telling} ({tokens[0]} tokens): {share:.2f} of {len(right)}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4)
