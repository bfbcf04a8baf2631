"""Needles in a haystack: can the model still say what it read so many tokens ago?"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from memollm.evaluation.accuracy import accuracies
from memollm.evaluation.asking import Asking, interview, starting_number
from memollm.evaluation.base import Metric, Sample, Subject
from memollm.evaluation.breakdown import bucket
from memollm.evaluation.grid import Cell, cells
from memollm.evaluation.haystack import haystack
from memollm.evaluation.prompts import Kind, Mentions, Prompt, build, draw_needles
from memollm.evaluation.settings import (
    refuse,
    require_at_least,
    require_depths,
    require_distinct,
    require_lengths,
)
from memollm.evaluation.tasks import example
from memollm.evaluation.text import TextEvaluation, require_one_text
from memollm.registry import register

KEY = "evaluation.needle"


@register("evaluation", "needle")
@dataclass
class NeedleInAHaystack(TextEvaluation):
    """Exact match of hidden numbers, over lengths and depths.

    A sample is one answer. A prompt is decided by the seed, its cell and the text: every mode is
    asked the same. Prompt and room for the answer take ``length`` tokens exactly, as in RULER.
    Depth is the share of the haystack before the needle, which is put between the two nearest
    sentences; 0 is before all of it, 1 after; ``accuracy_depth_<d>`` has it in percent. The
    answer is the number that the greedy continuation begins with. ``accuracy_age_<a>_<b>`` is for
    needles last mentioned a to b-1 tokens before the end of the haystack.

    ``multi_query`` hides one needle at every depth of the same haystack and asks for all of
    them in random order, each question following the last answer: five answers for the price
    of one prompt. They share a haystack, so standard errors are clustered by prompt; and a late
    question finds the haystack some 50 tokens older per question before it.

    The default, two kinds of one prompt a cell, gives 10 answers in 10 prompts and 10 in 2: a
    standard error of 0.11 on an accuracy of one half, 0.07 near one, more if the answers of a
    prompt stand and fall together. Differences between modes, paired by sample, are sharper.
    """

    key = KEY
    outcome = "correct"
    brief = {"lengths": [512], "depths": [0.5], "kinds": [Kind.passkey]}

    lengths: list[int] = field(default_factory=lambda: [1024, 4096])  # tokens
    depths: list[float] = field(default_factory=lambda: [0.0, 0.25, 0.5, 0.75, 1.0])
    kinds: list[Kind] = field(default_factory=lambda: [Kind.passkey, Kind.multi_query])
    samples_per_cell: int = 1  # answers for each kind, length and depth
    distractors: int = 3  # needles beside the one asked for, for ``multi_key``
    digits: int = 5  # of each number
    mentions: Mentions = Mentions.once  # how often the text states a needle, and where
    asking: Asking = Asking.streamed
    seed: int = 0

    def __post_init__(self) -> None:
        require_distinct(KEY, "lengths", self.lengths)
        require_distinct(KEY, "kinds", self.kinds)
        require_depths(KEY, self.depths)
        for name, least in (("samples_per_cell", 1), ("distractors", 1), ("digits", 3)):
            require_at_least(KEY, name, getattr(self, name), least)
        if self.digits > 18:
            refuse(KEY, "digits", self.digits, "it must be at most 18")

    @property
    def _answer_tokens(self) -> int:
        return self.digits + 2  # a token a digit at most, a space before, an end after

    def fits(self, model: str, limit: int) -> None:
        require_lengths(KEY, self.lengths, model, limit)

    def check(self, subject: Subject) -> None:
        self.fits(subject.name, subject.max_length)
        for cell in self._cells():
            if cell.length in (min(self.lengths), max(self.lengths)):
                try:
                    self._prompt(subject, cell)
                except ValueError as error:
                    refuse(KEY, "lengths", self.lengths, f"{error} (text={self.text!r})")

    def size(self, subject: Subject) -> int:
        return sum(len(cell.depths) for cell in self._cells())

    def prompts(self, subject: Subject) -> int:
        return sum(1 for _ in self._cells())

    def samples(self, subject: Subject, done: Collection[str] = ()) -> Iterator[Sample]:
        for cell in self._cells():
            if not all(cell.sample(depth) in done for depth in cell.depths):
                answers = self._ask(subject, cell, self._prompt(subject, cell))
                yield from (sample for sample in answers if sample["id"] not in done)

    def metrics(self, samples: Sequence[Sample]) -> dict[str, Metric]:
        require_one_text(samples, f"{KEY}.text={self.text!r}")
        aged = [{**it, "aged": f"age_{it['age_bucket']}"} for it in samples]
        return accuracies(aged, "correct", [("kind",), ("length",), ("depth",), ("aged",)])

    def _cells(self) -> Iterator[Cell]:
        return cells(self.kinds, self.lengths, self.depths, self.samples_per_cell)

    def _prompt(self, subject: Subject, cell: Cell) -> Prompt:
        rng = random.Random(f"{self.seed}/{cell.name}")
        needles = draw_needles(rng, cell.kind, cell.depths, self.digits, self.distractors)
        hay = haystack(self._text.joined, subject.tokenizer)
        return build(
            rng,
            subject.tokenizer,
            hay,
            cell.kind,
            cell.length,
            needles,
            self._answer_tokens,
            self.mentions,
        )

    def _ask(self, subject: Subject, cell: Cell, prompt: Prompt) -> list[Sample]:
        asked = [example.Prompt(prompt.ids, it.ids, it.spans) for it in prompt.questions]
        answers = interview(subject, [prompt.ids], asked, self.asking, self._answer_tokens)
        ages = [len(prompt.ids) - question.spans[-1][1] for question in prompt.questions]
        return [
            {
                "id": cell.sample(question.needle.depth),
                "prompt": cell.name,
                "kind": str(cell.kind),
                "length": cell.length,
                "depth": question.needle.depth,
                "age": age,  # tokens
                "age_bucket": bucket(age),
                "question": subject.tokenizer.decode(list(question.ids)),
                "expected": question.needle.value,
                "answer": said,
                "correct": starting_number(said) == question.needle.value,
                **found,
                "text": self._text.fingerprint,
            }
            for question, age, (said, found) in zip(prompt.questions, ages, answers, strict=True)
        ]
