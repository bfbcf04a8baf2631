"""Does massed or spaced attention keep a token longer, in the formula and in the model?

    python experiments/006_spacing_effect/spacing.py

The formula: one token, recalled several times early, evenly or late (see ``memory.spacing``), under
the default memory, MemoryBank's and a constant window.

The model: a needle is stated twice in a haystack of bundled English, which passes before the
question is known: both times early, once early and once late, or both times late, and for reference
once. The haystacks, needles and places are the same in every arrangement. Reported are the answer's
nats a token (teacher-forced, mean over its tokens) and, of the number's tokens in the first and in
the last statement, the share that is in the cache when the question comes and their strength, layer
by layer.
Differences to ``spaced`` are paired by prompt, with standard errors.
"""

from __future__ import annotations

import argparse
import math
import random
from dataclasses import dataclass

import torch

from memollm.evaluation.haystack import Haystack, haystack
from memollm.evaluation.prompts import MAGIC_NUMBER, Kind, draw_needles
from memollm.hf.inspection import token_states
from memollm.hf.layer import MemoryLayer
from memollm.hf.models import ReferenceModel
from memollm.hf.remembering import Remembering
from memollm.hf.subject import HFSession, HFSubject
from memollm.memory.ebbinghaus import Memory
from memollm.memory.retention import ConstantWindowRetention, MemoryBankRetention
from memollm.memory.spacing import spacing
from memollm.modes.baseline import Baseline
from memollm.modes.sparse_attention import SparseAttention
from memollm.reference import text_path

EARLY, LATE = 0.1, 0.5  # depths of the two statements
ARRANGEMENTS = {
    "once early": (EARLY,),
    "once late": (LATE,),
    "massed early": (EARLY, EARLY),
    "spaced": (EARLY, LATE),
    "massed late": (LATE, LATE),
}


@dataclass(frozen=True)
class Trial:
    """A haystack with the statements in it, the question and the answer, in tokens."""

    ids: list[int]
    numbers: list[list[int]]  # places of the number's tokens, statement by statement
    question: list[int]
    answer: list[int]


@dataclass(frozen=True)
class Found:
    """Of one prompt; lists are (statements, layers), empty without a memory."""

    nats: float  # mean over the answer's tokens
    kept: list[list[float]]  # share of the number's tokens still in the cache
    strength: list[list[float]]


def trial(
    subject: HFSubject, hay: Haystack, depths: tuple[float, ...], length: int, seed: int
) -> Trial:
    rng = random.Random(f"spacing/{seed}")
    ((needle,), _) = draw_needles(rng, Kind.single_key, [0.0], digits=5, distractors=0)

    def encode(text: str) -> list[int]:
        return subject.tokenizer.encode(text, add_special_tokens=False)

    stated = MAGIC_NUMBER.needle.format(key=needle.key, value=needle.value)
    begin, _, end = stated.partition(f" {needle.value}")
    before, value, after = encode(begin), encode(f" {needle.value}"), encode(end)
    start, stop = hay.draw(rng, length)
    ids, numbers, done = encode(MAGIC_NUMBER.introduction), [], start
    for depth in depths:
        place = hay.near(start, stop, depth)
        ids += hay.ids[done:place]
        ids += before
        numbers.append(list(range(len(ids), len(ids) + len(value))))
        ids += value + after
        done = place
    ids += hay.ids[done:stop]
    return Trial(ids, numbers, encode(MAGIC_NUMBER.question.format(key=needle.key)), value)


def measured(subject: HFSubject, given: Trial) -> Found:
    """What the answer costs, and what is left of each statement's number."""
    with subject.session(ledger=True) as session:
        assert isinstance(session, HFSession)
        for part in torch.tensor([given.ids]).split(subject.prefill_chunk, dim=1):
            session.forward(part, last_only=True)
        kept: list[list[float]] = []
        strength: list[list[float]] = []
        memories = [it.remembering for it in session.cache.layers if isinstance(it, MemoryLayer)]
        lost = session.forgotten([place for number in given.numbers for place in number])
        width = len(given.numbers[0])
        for at, places in enumerate(given.numbers if memories else []):
            own = [row[at * width : (at + 1) * width] for row in lost]
            kept.append([sum(it is None for it in row) / width for row in own])
            strength.append(_strengths(memories, places))
        logits = session.forward(torch.tensor([given.question + given.answer]))[0]
        predicted = logits[len(given.question) - 1 : -1].log_softmax(-1)
        answer = torch.tensor(given.answer)
        nats = -predicted.gather(1, answer[:, None]).mean()
    return Found(float(nats), kept, strength)


def _strengths(memories: list[Remembering], places: list[int]) -> list[float]:
    """Mean strength of the tokens in each layer, at their death where they are forgotten."""
    return [float(token_states(memory).strength[places].mean()) for memory in memories]


def formula() -> None:
    print("| rule | recalls | arrangement | strength | retention at the test | lives (tokens) |")
    print("| --- | ---: | --- | ---: | ---: | ---: |")
    rules = {
        "rehearsed, S 5": Memory(),
        "rehearsed, S 0.2": Memory(strength=0.2),
        "memory_bank, S 1": Memory(strength=1.0, retention=MemoryBankRetention()),
        "constant_window, S 2": Memory(strength=2.0, retention=ConstantWindowRetention()),
    }
    for name, memory in rules.items():
        for recalls in (2, 8):
            for it in spacing(memory, 0.1, recalls, span=400, delay=400, weight=0.05):
                missed = f" ({it.missed} recalls too late)" if it.missed else ""
                print(
                    f"| {name} | {recalls} | {it.arrangement} | {it.strength:.2f} | "
                    f"{it.retention:.3f} | {it.forgotten_at:.0f}{missed} |"
                )


def model(samples: int, length: int, strength: float, threshold: float) -> None:
    loaded = ReferenceModel().load()
    memory = Memory(strength=strength, threshold=threshold, layer_fraction=1.0, prefill_chunk=64)
    modes = {"baseline": Baseline(), "sparse_attention": SparseAttention()}
    columns = (
        "mode",
        "arrangement",
        "nats a token",
        "to spaced",
        "kept by layer",
        "strength by layer",
    )
    print("", f"| {' | '.join(columns)} |", sep="\n")
    print("| --- | --- | ---: | ---: | --- | --- |")
    for name, mode in modes.items():
        subject = HFSubject(loaded.model, loaded.tokenizer, memory, mode)
        hay = haystack(text_path().read_text(encoding="utf-8"), loaded.tokenizer)
        rows = {
            arrangement: [
                measured(subject, trial(subject, hay, depths, length, seed))
                for seed in range(samples)
            ]
            for arrangement, depths in ARRANGEMENTS.items()
        }
        reference = torch.tensor([row.nats for row in rows["spaced"]])
        for arrangement, found in rows.items():
            nats = torch.tensor([row.nats for row in found])
            apart = nats - reference
            error = float(apart.std()) / math.sqrt(samples)
            kept = _by_layer([row.kept for row in found])
            grown = _by_layer([row.strength for row in found])
            print(
                f"| {name} | {arrangement} | {float(nats.mean()):.3f} | {float(apart.mean()):+.3f} "
                f"± {error:.3f} | {kept} | {grown} |",
                flush=True,
            )


def _by_layer(rows: list[list[list[float]]]) -> str:
    """Means over prompts, layer by layer, of the first and the last statement."""
    if not rows[0]:
        return ""
    means = torch.tensor(rows).mean(dim=0)
    return " / ".join(" ".join(f"{it:.1f}" for it in means[at].tolist()) for at in (0, -1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=24, help="prompts an arrangement")
    parser.add_argument("--length", type=int, default=800, help="tokens of the haystack")
    parser.add_argument("--strength", type=float, default=1.6, help="memory_strength")
    parser.add_argument("--threshold", type=float, default=0.1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    formula()
    model(arguments.samples, arguments.length, arguments.strength, arguments.threshold)


if __name__ == "__main__":
    main()
