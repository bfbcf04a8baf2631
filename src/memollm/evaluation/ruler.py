"""RULER: thirteen synthetic tasks for long contexts."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from memollm.evaluation.accuracy import accuracies
from memollm.evaluation.asking import Asking, Ending, Stop, answer
from memollm.evaluation.base import Metric, Sample, Subject
from memollm.evaluation.settings import (
    refuse,
    require_at_least,
    require_distinct,
    require_lengths,
)
from memollm.evaluation.tasks.base import Material, Task, TooShort
from memollm.evaluation.tasks.documents import Format, read
from memollm.evaluation.tasks.encoder import Encoder
from memollm.evaluation.tasks.question_answering import QuestionAnswering
from memollm.evaluation.tasks.ruler import TASKS, RulerTask
from memollm.evaluation.tasks.variable_tracking import VariableTracking
from memollm.evaluation.text import TextEvaluation, require_one_text
from memollm.registry import register

KEY = "evaluation.ruler"
FORMATS = {RulerTask.qa_1: Format.squad, RulerTask.qa_2: Format.hotpotqa}
TRIED = 5  # examples of each task, before any is asked
FILES = {RulerTask.qa_1: "squad", RulerTask.qa_2: "hotpotqa"}  # fields


@register("evaluation", "ruler")
@dataclass
class Ruler(TextEvaluation):
    """The tasks of RULER (Hsieh et al., 2024, arXiv:2404.06654), generated here.

    Templates, settings, tokens to generate and scores are the published ones; ``tasks/`` says where
    a generator departs from its original. Prompt and answer take ``length`` tokens, at most 2 %
    less. An answer that already contains all it is asked for is not continued, which cannot
    change its score; ``stop=line`` and fewer ``tokens_to_generate`` may.

    A prompt is decided by the seed, the task, the length, the text and the tokenizer: every mode
    is asked the same. A sample is one prompt; "score" is what RULER averages, "correct" is there
    where it can be 0 or 1 only. The default needs no file; all tasks at 500 samples are RULER's.
    """

    key = KEY
    outcome = "score"
    brief = {"lengths": [1024], "samples_per_cell": 1}

    tasks: list[RulerTask] = field(
        default_factory=lambda: [RulerTask.niah_single_1, RulerTask.niah_multikey_1, RulerTask.vt]
    )
    lengths: list[int] = field(default_factory=lambda: [1024, 4096])  # tokens
    samples_per_cell: int = 5  # of each task and length
    asking: Asking = Asking.streamed
    squad: str = ""  # SQuAD 2.0's dev-v2.0.json, for qa_1
    hotpotqa: str = ""  # HotpotQA's hotpot_dev_distractor_v1.json, for qa_2
    hops: int = 4  # of vt, as published; small models may follow fewer
    example: bool = True  # whether vt shows a solved example of 500 tokens first, as published
    tokens_to_generate: int | None = None  # None: as published, 30 to 128
    stop: Stop = Stop.published  # what ends an answer earlier
    seed: int = 0

    def __post_init__(self) -> None:
        require_distinct(KEY, "tasks", self.tasks)
        require_distinct(KEY, "lengths", self.lengths)
        require_at_least(KEY, "samples_per_cell", self.samples_per_cell, 1)
        require_at_least(KEY, "hops", self.hops, 1)
        if self.tokens_to_generate is not None:
            require_at_least(KEY, "tokens_to_generate", self.tokens_to_generate, 1)
        for task in FILES.keys() & self.tasks:
            if not getattr(self, FILES[task]):
                raise ValueError(
                    f"{KEY}.tasks={task} needs a file in the format of {FORMATS[task]}: give it "
                    f"as {KEY}.{FILES[task]}=<file>"
                )

    @functools.cached_property
    def _tasks(self) -> dict[RulerTask, Task]:
        chosen: dict[RulerTask, Task] = {}
        for name in self.tasks:
            task = TASKS[name]
            if isinstance(task, QuestionAnswering):
                source, form = getattr(self, FILES[name]), FORMATS[name]
                documents = read(source, form, f"{KEY}.{FILES[name]}")
                task = dataclasses.replace(task, documents=documents)
            if isinstance(task, VariableTracking):
                task = dataclasses.replace(task, hops=self.hops, shown=self.example)
            if self.tokens_to_generate is not None:
                task = dataclasses.replace(task, tokens_to_generate=self.tokens_to_generate)
            chosen[name] = task
        return chosen

    def prepare(self) -> None:
        super().prepare()
        _ = self._tasks

    def fingerprint(self) -> str:
        files = [
            task.documents.fingerprint
            for task in self._tasks.values()
            if isinstance(task, QuestionAnswering)
        ]
        text = super().fingerprint()
        return hashlib.sha256("".join([text, *files]).encode()).hexdigest() if files else text

    def fits(self, model: str, limit: int) -> None:
        require_lengths(KEY, self.lengths, model, limit)

    def check(self, subject: Subject) -> None:
        self.fits(subject.name, subject.max_length)
        material, shortest = self._material(subject), min(self.lengths)
        for name, task in self._tasks.items():
            try:
                for index in range(min(self.samples_per_cell, TRIED)):
                    task.example(self._rng(name, shortest, index), shortest, material)
            except TooShort as error:
                refuse(KEY, "lengths", self.lengths, f"too short for {name}, which has {error}")

    def size(self, subject: Subject) -> int:
        return len(self.tasks) * len(self.lengths) * self.samples_per_cell

    def samples(self, subject: Subject, done: Collection[str] = ()) -> Iterator[Sample]:
        material = self._material(subject)
        for name, task in self._tasks.items():
            for length in self.lengths:
                for index in range(self.samples_per_cell):
                    if f"{name}/{length}/{index}" not in done:
                        yield self._ask(subject, material, name, task, length, index)

    def metrics(self, samples: Sequence[Sample]) -> dict[str, Metric]:
        require_one_text(samples, f"{KEY}.text={self.text!r}")
        return accuracies(samples, "score", [("task",), ("length",), ("task", "length")])

    def _ask(
        self,
        subject: Subject,
        material: Material,
        name: RulerTask,
        task: Task,
        length: int,
        index: int,
    ) -> Sample:
        example = task.example(self._rng(name, length, index), length, material)
        prompt = material.encoder.prompt(example)
        ended = Ending(
            subject.tokenizer, self.stop.texts, lambda said: task.score(said, example.answers) == 1
        )
        said, found = answer(subject, prompt, self.asking, task.tokens_to_generate, ended)
        score = task.score(said, example.answers)
        return {
            "id": f"{name}/{length}/{index}",
            "prompt": f"{name}/{length}/{index}",
            "task": str(name),
            "length": length,
            "question": example.question,
            "expected": list(example.answers),
            "answer": said,
            "score": score,
            **({} if task.graded else {"correct": score == 1}),
            **found,
            "text": self.fingerprint(),
        }

    def _material(self, subject: Subject) -> Material:
        return Material(Encoder(subject.tokenizer), self._text.joined)

    def _rng(self, name: RulerTask, length: int, index: int) -> random.Random:
        return random.Random(f"{self.seed}/{name}/{length}/{index}")
