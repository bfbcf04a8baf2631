"""Needles in a haystack: can the model still say what it read so many tokens ago?"""

from __future__ import annotations

import dataclasses
import random
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import torch

from memollm.evaluation.base import Metric, Sample, Session, Subject
from memollm.evaluation.breakdown import ratio
from memollm.evaluation.grid import Cell, cells
from memollm.evaluation.haystack import haystack
from memollm.evaluation.prompts import Kind, Prompt, build, draw_needles
from memollm.evaluation.streaming import greedy
from memollm.evaluation.text import TextEvaluation, require_one_text
from memollm.registry import register

KEY = "evaluation.needle"


class Asking(StrEnum):
    """What the memory knows of a question while the haystack passes."""

    streamed = "streamed"  # haystack and question are one prompt, as generate() would see it
    unseen = "unseen"  # forgetting is done with the haystack before the question comes (kvpress)


@register("evaluation", "needle")
@dataclass
class NeedleInAHaystack(TextEvaluation):
    """Exact match of hidden numbers, over lengths and depths.

    A sample is one answer. A prompt is decided by the seed, its cell and the text: every mode is
    asked the same. Prompt and room for the answer take ``length`` tokens exactly, as in RULER.
    Depth is the share of the haystack before the needle, which is put between the two nearest
    sentences; 0 is before all of it, 1 after; ``accuracy_depth_<d>`` has it in percent. The
    answer is the number that the greedy continuation begins with.

    ``multi_query`` hides one needle at every depth of the same haystack and asks for all of
    them in random order, each question following the last answer: five answers for the price
    of one prompt. They share a haystack, so standard errors are clustered by prompt; and a late
    question finds the haystack some 50 tokens older per question before it.

    The default, two kinds of one prompt a cell, gives 10 answers in 10 prompts and 10 in 2: a
    standard error of 0.11 on an accuracy of one half, 0.07 near one, more if the answers of a
    prompt stand and fall together. Differences between modes, paired by sample, are sharper.
    """

    key = KEY

    lengths: list[int] = field(default_factory=lambda: [1024, 4096])  # tokens
    depths: list[float] = field(default_factory=lambda: [0.0, 0.25, 0.5, 0.75, 1.0])
    kinds: list[Kind] = field(default_factory=lambda: [Kind.passkey, Kind.multi_query])
    samples_per_cell: int = 1  # answers for each kind, length and depth
    distractors: int = 3  # needles beside the one asked for, for ``multi_key``
    digits: int = 5  # of each number
    asking: Asking = Asking.streamed
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("lengths", "depths", "kinds"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                _refuse(name, values, "it must name at least one, and none twice")
        if not all(0 <= depth <= 1 for depth in self.depths):
            _refuse("depths", self.depths, "each must lie between 0 (first) and 1 (last)")
        for name, least in (("samples_per_cell", 1), ("distractors", 1), ("digits", 3)):
            if getattr(self, name) < least:
                _refuse(name, getattr(self, name), f"it must be at least {least}")
        if self.digits > 18:
            _refuse("digits", self.digits, "it must be at most 18")

    @property
    def _answer_tokens(self) -> int:
        return self.digits + 2  # a token a digit at most, a space before, an end after

    def fits(self, model: str, limit: int) -> None:
        if max(self.lengths) > limit:
            _refuse("lengths", self.lengths, f"{model} takes at most {limit} tokens")

    def check(self, subject: Subject) -> None:
        self.fits(subject.name, subject.max_length)
        for cell in self._cells():
            if cell.length in (min(self.lengths), max(self.lengths)):
                try:
                    self._prompt(subject, cell)
                except ValueError as error:
                    _refuse("lengths", self.lengths, f"{error} (text={self.text!r})")

    def size(self, subject: Subject) -> int:
        return sum(len(cell.depths) for cell in self._cells())

    def samples(self, subject: Subject, done: Collection[str] = ()) -> Iterator[Sample]:
        for cell in self._cells():
            if not all(cell.sample(depth) in done for depth in cell.depths):
                answers = self._ask(subject, cell, self._prompt(subject, cell))
                yield from (sample for sample in answers if sample["id"] not in done)

    def metrics(self, samples: Sequence[Sample]) -> dict[str, Metric]:
        require_one_text(samples, f"{KEY}.text={self.text!r}")
        found = {"accuracy": _accuracy(samples)}
        for axis in ("kind", "length", "depth"):
            for value in sorted({sample[axis] for sample in samples}):
                those = [sample for sample in samples if sample[axis] == value]
                found[f"accuracy_{_label(axis, value)}"] = _accuracy(those)
        return found

    def _cells(self) -> Iterator[Cell]:
        return cells(self.kinds, self.lengths, self.depths, self.samples_per_cell)

    def _prompt(self, subject: Subject, cell: Cell) -> Prompt:
        rng = random.Random(f"{self.seed}/{cell.name}")
        needles = draw_needles(rng, cell.kind, cell.depths, self.digits, self.distractors)
        hay = haystack(self._text.joined, subject.tokenizer)
        return build(
            rng, subject.tokenizer, hay, cell.kind, cell.length, needles, self._answer_tokens
        )

    def _ask(self, subject: Subject, cell: Cell, prompt: Prompt) -> list[Sample]:
        stops = _answer_ends(subject)
        fed, answers = prompt.ids, []
        with subject.session() as session:
            if self.asking is Asking.unseen:
                _feed(session, fed, subject.device)
                fed = ()
            for question in prompt.questions:
                ids = (*fed, *question.ids)
                answer = greedy(session, ids, self._answer_tokens, stops, subject.device)
                answers.append(subject.tokenizer.decode(answer))
                fed = tuple(token for token in answer[-1:] if token not in stops)
            memory = dataclasses.asdict(session.memory_use())
        return [
            {
                "id": cell.sample(question.needle.depth),
                "prompt": cell.name,
                "kind": str(cell.kind),
                "length": cell.length,
                "depth": question.needle.depth,
                "expected": question.needle.value,
                "answer": answer,
                "correct": _number(answer) == question.needle.value,
                "needle": list(question.span),  # tokens of the prompt
                "asking": str(self.asking),
                "memory": memory,
                "text": self._text.fingerprint,
            }
            for question, answer in zip(prompt.questions, answers, strict=True)
        ]


def _refuse(name: str, value: object, why: str) -> None:
    raise ValueError(f"{KEY}.{name}={value} is not allowed: {why}")


def _feed(session: Session, ids: Sequence[int], device: torch.device) -> None:
    with torch.no_grad():
        session.forward(torch.tensor([list(ids)], device=device), last_only=True)


def _answer_ends(subject: Subject) -> set[int]:
    """Tokens no number goes on after, so that an answer is no longer than it need be."""
    encoded = [
        subject.tokenizer.encode(end, add_special_tokens=False) for end in (".", "\n", ".\n")
    ]
    return {ids[-1] for ids in encoded if ids}


def _number(answer: str) -> str:
    """The digits that the answer begins with: "12345." is right, "123456" is not."""
    found = re.match(r"\s*(\d*)", answer)
    return found[1] if found else ""


def _label(axis: str, value: int | float | str) -> str:
    if axis == "depth":
        return f"depth_{100 * float(value):g}"  # percent: a dot in a name means nesting to W&B
    return str(value) if axis == "kind" else f"{axis}_{value}"


def _accuracy(samples: Sequence[Sample]) -> Metric:
    prompts: dict[str, list[bool]] = {}
    for sample in samples:
        prompts.setdefault(sample["prompt"], []).append(sample["correct"])
    value, error = ratio([(sum(right), len(right)) for right in prompts.values()])
    return Metric(value, "share", True, len(samples), error)
