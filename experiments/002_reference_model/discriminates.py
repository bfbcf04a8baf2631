"""Does the reference model tell policies apart?

    python experiments/002_reference_model/discriminates.py

Four keys in a haystack of held-out text, one asked for in RULER's wording, a quarter of the tokens
kept in every layer. The haystack passes first, is cut down to the budget, then question and answer
follow; ``snapkv, with the question`` and ``hindsight`` see the question before the cut. Hindsight
keeps what the rows that answer attend to when nothing is forgotten: what a quarter of the tokens
would suffice for. All policies are given the same prompts; an answer counts if each of its tokens
is the first choice.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import AutoTokenizer, Qwen2ForCausalLM

from memollm.evaluation.base import Metric
from memollm.hf.subject import HFSubject
from memollm.memory.ebbinghaus import Memory
from memollm.memory.tokens import Tokens
from memollm.modes.sparse_attention import SparseAttention
from memollm.policies.base import Ranking
from memollm.policies.full import Full
from memollm.policies.h2o import H2O
from memollm.policies.random import Random
from memollm.policies.snapkv import SnapKV
from memollm.policies.window import Window
from memollm.reference.measure import MeasureConfig, held_out_library
from memollm.reference.probes import PROBES, answer_span
from memollm.reference.samples import Sample
from memollm.registry import register

ONE_LOOK = 1 << 20  # prefill_chunk: the budget is applied once, at the end of the haystack
SNAPKV = SnapKV(window=32, pool=21)  # a needle's value is some seven tokens: five would halve it


@register("policy", "hindsight")
@dataclass
class Hindsight(Ranking):
    """Keeps what ``attention`` (layer, position) is highest for."""

    attention: Float[Tensor, "layers tokens"] = field(default_factory=lambda: torch.zeros(0, 0))

    def priority(self, tokens: Tokens, keep: Int[Tensor, " batch"]) -> Float[Tensor, "batch pairs"]:
        known = self.attention[tokens.layer]
        return known[tokens.position.clamp(0, len(known) - 1).long()].double()


@dataclass
class Trial:
    """One prompt: its tokens, where the question begins and where the answer stands."""

    tokens: Int[Tensor, "1 tokens"]
    question: int
    answer: slice
    depth: float  # of the needle asked for: share of the haystack before it

    @classmethod
    def of(cls, sample: Sample) -> Trial:
        answer = answer_span(sample)
        question = max(end for _, end in sample.spans)
        start = max(question, answer.start - 48)
        needle = sample.spans[sample.asked[0]]
        tokens = torch.from_numpy(sample.tokens[: answer.stop])[None]
        return cls(tokens, start, answer, needle[0] / start)


def attention_of_the_answer(
    model: Qwen2ForCausalLM, trial: Trial
) -> Float[Tensor, "layers tokens"]:
    """What the rows that predict the answer attend to: most over rows, mean over heads."""
    model.set_attn_implementation("eager")
    out = model(trial.tokens, output_attentions=True, use_cache=False)
    model.set_attn_implementation("sdpa")
    rows = slice(trial.answer.start - 1, trial.answer.stop - 1)
    return torch.stack([weights[0, :, rows].mean(dim=0).amax(dim=0) for weights in out.attentions])


def right(subject: HFSubject, trial: Trial, cut: int) -> bool:
    """Whether the answer is the first choice, when the budget is applied after ``cut`` tokens."""
    with subject.session() as session:
        session.forward(trial.tokens[:, :cut], last_only=True)
        logits = session.forward(trial.tokens[:, cut:])
    first = trial.answer.start - 1 - cut
    chosen = logits[0, first : first + trial.answer.stop - trial.answer.start].argmax(-1)
    return bool((chosen == trial.tokens[0, trial.answer]).all())


def outcomes(length: int, samples: int, budget: float) -> Iterator[dict[str, bool | float]]:
    """For each prompt, whether each policy's answer is right."""
    config = MeasureConfig()
    model = Qwen2ForCausalLM.from_pretrained(config.model, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(config.model)
    library = held_out_library(config)
    for number in range(samples):
        rng = np.random.default_rng([config.seed, length, number])
        trial = Trial.of(PROBES["ruler 4"](rng, library, length))
        seen = {
            "nothing forgotten": (Full(), False),
            "hindsight": (Hindsight(attention_of_the_answer(model, trial)), False),
            "snapkv, with the question": (SNAPKV, True),
            "snapkv": (SNAPKV, False),
            "h2o": (H2O(), False),
            "window": (Window(), False),
            "random": (Random(), False),
        }
        row: dict[str, bool | float] = {"depth": trial.depth}
        for name, (policy, asked) in seen.items():
            share = None if isinstance(policy, Full) else budget
            memory = Memory(policy=policy, budget=share, layer_fraction=1.0, prefill_chunk=ONE_LOOK)
            subject = HFSubject(model, tokenizer, memory, SparseAttention())
            cut = trial.answer.start - 1 if asked else trial.question
            row[name] = right(subject, trial, cut)
        yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lengths", type=int, nargs="+", default=[1024, 2048])
    parser.add_argument("--samples", type=int, default=200, help="prompts a length")
    parser.add_argument("--budget", type=float, default=0.25, help="share of the tokens to keep")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for length in arguments.lengths:
        with torch.no_grad():
            rows = list(outcomes(length, arguments.samples, arguments.budget))
        inside = sum(float(row["depth"]) > 1 - arguments.budget for row in rows) / len(rows)
        print(json.dumps({"length": length, "needles in the last share": inside}))
        for name in rows[0]:
            if name != "depth":
                found = Metric.mean([float(row[name]) for row in rows], "share", True)
                print(json.dumps({"length": length, "policy": name, "accuracy": found.value,
                                  "stderr": found.stderr, "n": found.n}), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
