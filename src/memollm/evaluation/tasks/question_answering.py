"""Question answering among documents that do not matter, RULER's qa_1 and qa_2.

Templates are those of qa.py and constants.py of github.com/NVIDIA/RULER. Here questions are drawn
at random, among those whose own documents fit the length; one other document is cut at its front,
so that the length is met.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from memollm.evaluation.tasks.base import Material, Task, TooShort, match_part
from memollm.evaluation.tasks.documents import DocumentQuestion, Documents
from memollm.evaluation.tasks.example import Example, Part

INTRODUCTION = (
    "Answer the question based on the given documents. Only give me the answer and do not output "
    "any other words.\n\nThe following are given documents.\n\n"
)
DOCUMENT = "Document {number}:\n"
QUESTION = (
    "Answer the question based on the given documents. Only give me the answer and do not output "
    "any other words.\n\nQuestion: {query} Answer:"
)
LEAST = 8  # tokens of a document that was cut


@dataclass(frozen=True)
class QuestionAnswering(Task):
    """One question on one of many documents."""

    tokens_to_generate: int = 32
    documents: Documents = field(default_factory=lambda: Documents((), (), ""))

    @property
    def graded(self) -> bool:
        return False

    def score(self, answer: str, expected: tuple[str, ...]) -> float:
        return match_part(answer, expected)

    def example(self, rng: random.Random, length: int, material: Material) -> Example:
        questions = self.documents.questions
        why = ValueError()
        for question in rng.sample(questions, len(questions)):
            try:
                return self._example(rng, length, material, question)
            except TooShort as error:
                why = error
        raise TooShort(f"none of the {len(questions)} questions fits; of the last, {why}") from why

    def _example(
        self, rng: random.Random, length: int, material: Material, question: DocumentQuestion
    ) -> Example:
        asked = QUESTION.format(query=question.query)
        room = self.room(length, material) - material.encoder.count(INTRODUCTION, asked)
        texts = [(self._whole(i), i in question.evidence) for i in question.own]
        room -= _cost([text for text, _ in texts], material)
        if room < 0:
            raise TooShort(f"its {len(texts)} documents are {-room} tokens too long")
        others = self._others(rng, question)
        texts += [(text, False) for text in _filling(others, len(texts), room, material)]
        rng.shuffle(texts)
        parts = [Part(INTRODUCTION)]
        for number, (text, evidence) in enumerate(texts, start=1):
            parts += [Part(DOCUMENT.format(number=number)), Part(text, evidence)]
        return Example(tuple(parts), asked, question.answers)

    def _whole(self, number: int) -> str:
        return self.documents.texts[number].strip() + "\n\n"

    def _others(self, rng: random.Random, question: DocumentQuestion) -> list[str]:
        """All other documents in random order, the related ones first."""
        near = rng.sample(question.related, len(question.related))
        known = {*question.own, *near}
        far = [i for i in range(len(self.documents.texts)) if i not in known]
        return [self._whole(i) for i in [*near, *rng.sample(far, len(far))]]


def _cost(texts: list[str], material: Material, first: int = 1) -> int:
    headed = (DOCUMENT.format(number=first + i) for i in range(len(texts)))
    return material.encoder.count(*texts, *headed)


def _filling(others: list[str], before: int, room: int, material: Material) -> list[str]:
    """Documents that take ``room`` tokens, from the first again where there are too few."""
    if not others:
        raise TooShort("there is no other document")
    found: list[str] = []
    while room > 0:
        text = others[len(found) % len(others)]
        cost = _cost([text], material, first=before + len(found) + 1)
        if cost <= room:
            found.append(text)
            room -= cost
            continue
        header = cost - material.encoder.count(text)
        if room < header + LEAST:  # too little for one more: two share what the last one had
            if not found:
                raise TooShort(f"{room} tokens are left for other documents")
            had = material.encoder.count(found[-1])
            room += had
            found[-1] = _cut(found[-1], had - header - LEAST, material)
            room -= material.encoder.count(found[-1])
        found.append(_cut(text, room - header, material))
        room = 0
    return found


def _cut(text: str, room: int, material: Material) -> str:
    return material.encoder.suffix(text.rstrip(), room, after="\n\n") + "\n\n"
