"""Needles over turns: is what was said in the first turn known in the fifth?"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from memollm.evaluation.accuracy import accuracies
from memollm.evaluation.asking import Asking, interview, starting_number
from memollm.evaluation.base import Metric, Sample, Subject
from memollm.evaluation.settings import (
    refuse,
    require_at_least,
    require_distinct,
    require_lengths,
)
from memollm.evaluation.tasks.base import Material, TooShort
from memollm.evaluation.tasks.conversation import DIGITS, Conversation, converse
from memollm.evaluation.tasks.encoder import Encoder
from memollm.evaluation.tasks.example import Part, Prompt
from memollm.evaluation.text import TextEvaluation, require_one_text
from memollm.registry import register

KEY = "evaluation.multi_turn"
ANSWER_TOKENS = DIGITS + 2  # a token a digit at most, a space before, an end after


@register("evaluation", "multi_turn")
@dataclass
class MultiTurn(TextEvaluation):
    """Numbers that are told in early turns of a conversation and asked for in its last one.

    Every turn but the last gives a passage of the text to read; those of ``given`` state facts
    between its sentences, in RULER's words. The last turn asks for all of them in random order.
    By default each turn is a forward pass of its own, as in a conversation whose cache is kept
    (asking=unseen); ``streamed`` passes the whole conversation at once, as when it is sent again.
    The conversation with all questions and answers takes ``length`` tokens, at most 2 % less.

    A sample is one answer; the answers of one conversation count as one in standard errors.
    """

    key = KEY
    outcome = "correct"
    brief = {"lengths": [1024], "samples_per_cell": 1}

    lengths: list[int] = field(default_factory=lambda: [1024, 4096])  # tokens
    turns: int = 5  # with the one that asks
    given: list[int] = field(default_factory=lambda: [1])  # turns that state facts; from 1
    facts: int = 2  # in each of them
    samples_per_cell: int = 5  # conversations of each length
    asking: Asking = Asking.unseen
    seed: int = 0

    def __post_init__(self) -> None:
        require_distinct(KEY, "lengths", self.lengths)
        require_distinct(KEY, "given", self.given)
        for name, least in (("turns", 2), ("facts", 1), ("samples_per_cell", 1)):
            require_at_least(KEY, name, getattr(self, name), least)
        if not all(1 <= turn < self.turns for turn in self.given):
            last = self.turns - 1
            refuse(KEY, "given", self.given, f"facts are stated in turns 1 to {last}")

    def fits(self, model: str, limit: int) -> None:
        require_lengths(KEY, self.lengths, model, limit)

    def check(self, subject: Subject) -> None:
        self.fits(subject.name, subject.max_length)
        try:
            self._conversation(self._material(subject), min(self.lengths), 0)
        except TooShort as error:
            refuse(KEY, "lengths", self.lengths, f"too short for {self.turns} turns: {error}")

    def size(self, subject: Subject) -> int:
        return self.prompts(subject) * len(self.given) * self.facts

    def prompts(self, subject: Subject) -> int:
        return len(self.lengths) * self.samples_per_cell

    def samples(self, subject: Subject, done: Collection[str] = ()) -> Iterator[Sample]:
        material = self._material(subject)
        facts = range(len(self.given) * self.facts)
        for length in self.lengths:
            for index in range(self.samples_per_cell):
                if not all(f"{length}/{index}/{i}" in done for i in facts):
                    found = self._ask(subject, material, length, index)
                    yield from (sample for sample in found if sample["id"] not in done)

    def metrics(self, samples: Sequence[Sample]) -> dict[str, Metric]:
        require_one_text(samples, f"{KEY}.text={self.text!r}")
        return accuracies(samples, "correct", [("length",), ("given",)])

    def _ask(self, subject: Subject, material: Material, length: int, index: int) -> list[Sample]:
        had = self._conversation(material, length, index)
        turns, prompts = _prompts(had, material.encoder)
        answers = interview(subject, turns, prompts, self.asking, ANSWER_TOKENS)
        return [
            {
                "id": f"{length}/{index}/{i}",
                "prompt": f"{length}/{index}",
                "length": length,
                "given": fact.turn,
                "question": fact.question,
                "expected": fact.value,
                "answer": said,
                "correct": starting_number(said) == fact.value,
                **found,
                "text": self._text.fingerprint,
            }
            for i, (fact, (said, found)) in enumerate(zip(had.facts, answers, strict=True))
        ]

    def _conversation(self, material: Material, length: int, index: int) -> Conversation:
        rng = random.Random(f"{self.seed}/{length}/{index}")
        return converse(rng, length, self.turns, self.given, self.facts, ANSWER_TOKENS, material)

    def _material(self, subject: Subject) -> Material:
        return Material(Encoder(subject.tokenizer), self._text.joined)


def _prompts(had: Conversation, encoder: Encoder) -> tuple[list[tuple[int, ...]], list[Prompt]]:
    """The turns in tokens, and a prompt for each fact that is asked for."""
    turns = [tuple(id for part in turn for id in encoder.ids(part.text)) for turn in had.turns]
    turns[0] = (*encoder.opening, *turns[0])
    context = tuple(id for turn in turns for id in turn)
    prompts: list[Prompt] = []
    for fact in had.facts:
        before: list[Part] = [part for turn in had.turns[: fact.turn - 1] for part in turn]
        before += had.turns[fact.turn - 1][: fact.part]
        start = len(encoder.opening) + encoder.count(*(part.text for part in before))
        past = start + encoder.count(had.turns[fact.turn - 1][fact.part].text)
        prompts.append(Prompt(context, encoder.ids(fact.question), ((start, past),)))
    return turns, prompts
