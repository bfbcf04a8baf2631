"""Key-value retrieval: does it matter where in its context a model has to look?"""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from memollm.evaluation.accuracy import accuracies
from memollm.evaluation.asking import Asking, Ending, Stop, answer
from memollm.evaluation.base import Evaluation, Metric, Sample, Subject
from memollm.evaluation.settings import (
    refuse,
    require_at_least,
    require_depths,
    require_distinct,
    require_lengths,
)
from memollm.evaluation.tasks.base import Material, TooShort
from memollm.evaluation.tasks.encoder import Encoder
from memollm.evaluation.tasks.example import Example
from memollm.evaluation.tasks.key_value import KeyValue, Record, read
from memollm.evaluation.tasks.niah import Thing
from memollm.registry import register

KEY = "evaluation.key_value"


@register("evaluation", "key_value")
@dataclass
class KeyValueRetrieval(Evaluation):
    """Values of JSON objects, asked for by their keys, over lengths and depths.

    The task of "Lost in the Middle" (Liu et al., 2023, arXiv:2307.03172): its prompt, and its
    score, which is 1 if the answer contains the value. Generated prompts take ``length`` tokens
    with their answers, at most 2 % less; one pair that is not asked for is shortened for that.
    With ``data``, a jsonl file as published (kv-retrieval-75_keys.jsonl.gz), each of the first
    ``samples_per_cell`` examples is asked with its pair moved to each depth; prompts are as long
    as they are, and ``lengths`` is not used.

    An answer that contains the value is not continued, which cannot change its score.
    """

    outcome = "correct"
    brief = {"lengths": [512], "depths": [0.5], "samples_per_cell": 1}

    lengths: list[int] = field(default_factory=lambda: [1024, 4096])  # tokens
    depths: list[float] = field(default_factory=lambda: [0.0, 0.25, 0.5, 0.75, 1.0])
    samples_per_cell: int = 2  # of each length and depth
    data: str = ""  # a file to ask, instead of generated prompts
    keys: Thing = Thing.uuids  # as published; words and numbers are easier on small models
    values: Thing = Thing.uuids
    query_aware: bool = False  # whether the key is told before the data, too
    asking: Asking = Asking.streamed
    tokens_to_generate: int = 100
    stop: Stop = Stop.published  # what ends an answer earlier
    seed: int = 0

    def __post_init__(self) -> None:
        require_distinct(KEY, "lengths", self.lengths)
        require_depths(KEY, self.depths)
        for name in ("samples_per_cell", "tokens_to_generate"):
            require_at_least(KEY, name, getattr(self, name), 1)
        if self.query_aware and self.asking is Asking.unseen:
            refuse(KEY, "query_aware", True, "the key is no longer unseen (asking=unseen)")

    @functools.cached_property
    def _file(self) -> tuple[list[Record], str]:
        return read(self.data, f"{KEY}.data")

    def prepare(self) -> None:
        if self.data and len(self._file[0]) < self.samples_per_cell:
            asked = f"{self.data} has {len(self._file[0])} examples"
            refuse(KEY, "samples_per_cell", self.samples_per_cell, asked)

    def fingerprint(self) -> str:
        return self._file[1] if self.data else ""

    def fits(self, model: str, limit: int) -> None:
        if not self.data:
            require_lengths(KEY, self.lengths, model, limit)

    def check(self, subject: Subject) -> None:
        self.fits(subject.name, subject.max_length)
        material = self._material(subject)
        if self.data:
            for record in self._file[0][: self.samples_per_cell]:
                example = self._task.placed(record.others, record.gold, 0.5, material.encoder)
                tokens = len(material.encoder.prompt(example).ids) + self.tokens_to_generate
                if tokens > subject.max_length:
                    raise ValueError(
                        f"{record.where}: prompt and answer take {tokens} tokens, {subject.name} "
                        f"takes at most {subject.max_length}"
                    )
            return
        try:
            self._task.generated(random.Random(0), min(self.lengths), 0.0, material)
        except TooShort as error:
            refuse(KEY, "lengths", self.lengths, f"too short, {error}")

    def size(self, subject: Subject) -> int:
        lengths = 1 if self.data else len(self.lengths)
        return lengths * len(self.depths) * self.samples_per_cell

    def prompts(self, subject: Subject) -> int:
        return self.samples_per_cell if self.data else self.size(subject)

    def samples(self, subject: Subject, done: Collection[str] = ()) -> Iterator[Sample]:
        material = self._material(subject)
        lengths = [None] if self.data else self.lengths
        indices = range(self.samples_per_cell)
        for length, depth, index in itertools.product(lengths, self.depths, indices):
            name = f"{length or 'file'}/{depth:g}/{index}"
            if name not in done:
                yield self._ask(subject, material, name, length, depth, index)

    def metrics(self, samples: Sequence[Sample]) -> dict[str, Metric]:
        size = "pairs" if self.data else "length"
        return accuracies(samples, "correct", [(size,), ("depth",), (size, "depth")])

    @property
    def _task(self) -> KeyValue:
        return KeyValue(self.tokens_to_generate, self.keys, self.values, self.query_aware)

    def _ask(
        self,
        subject: Subject,
        material: Material,
        name: str,
        length: int | None,
        depth: float,
        index: int,
    ) -> Sample:
        example = self._example(material, name, length, depth, index)
        prompt = material.encoder.prompt(example)
        ended = Ending(
            subject.tokenizer,
            self.stop.texts,
            lambda said: self._task.score(said, example.answers) == 1,
        )
        said, found = answer(subject, prompt, self.asking, self.tokens_to_generate, ended)
        return {
            "id": name,
            "prompt": f"file/{index}" if length is None else name,  # examples of its own
            **({} if length is None else {"length": length}),
            "pairs": len(example.context) - 1,
            "depth": depth,
            "question": example.question,
            "expected": example.answers[0],
            "answer": said,
            "correct": self._task.score(said, example.answers) == 1,
            **found,
        }

    def _example(
        self, material: Material, name: str, length: int | None, depth: float, index: int
    ) -> Example:
        if length is None:
            record = self._file[0][index]
            return self._task.placed(record.others, record.gold, depth, material.encoder)
        rng = random.Random(f"{self.seed}/{name}")
        return self._task.generated(rng, length, depth, material)

    def _material(self, subject: Subject) -> Material:
        return Material(Encoder(subject.tokenizer), "")
