"""Questions on documents, from files in the formats of SQuAD 2.0 and HotpotQA.

Which documents go with a question is as in qa.py of github.com/NVIDIA/RULER: for SQuAD the
paragraph that was asked about, and before others those of the same article; for HotpotQA all
paragraphs of the question.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from memollm.evaluation.tasks.data_file import Field, read_json


class Format(StrEnum):
    """How a file of questions is written."""

    squad = "squad"  # dev-v2.0.json
    hotpotqa = "hotpotqa"  # hotpot_dev_distractor_v1.json


@dataclass(frozen=True)
class DocumentQuestion:
    """A question, its answers, and numbers of documents."""

    query: str
    answers: tuple[str, ...]
    own: tuple[int, ...]  # always given with the question
    related: tuple[int, ...] = ()  # given before any others
    evidence: tuple[int, ...] = ()  # of its own, those that hold the answer


@dataclass(frozen=True)
class Documents:
    """A file of questions. ``fingerprint`` is its SHA-256."""

    texts: tuple[str, ...]
    questions: tuple[DocumentQuestion, ...]
    fingerprint: str


def read(source: str, form: Format, key: str) -> Documents:
    """The questions of a file.

    Raises:
        ValueError: if the file is not in that format, naming file, line or field.
    """
    data, fingerprint = read_json(source, key)
    texts, questions = _squad(data) if form is Format.squad else _hotpotqa(data)
    if not questions:
        raise ValueError(f"{data.where} has no question that can be answered")
    return Documents(tuple(texts), tuple(questions), fingerprint)


def _squad(data: Field) -> tuple[list[str], list[DocumentQuestion]]:
    number: dict[str, int] = {}
    questions: list[DocumentQuestion] = []
    for article in data["data"].items():
        paragraphs = list(article["paragraphs"].items())
        texts = [paragraph["context"].text() for paragraph in paragraphs]
        ids = [number.setdefault(text, len(number)) for text in texts]
        for own, paragraph in zip(ids, paragraphs, strict=True):
            related = tuple(dict.fromkeys(i for i in ids if i != own))
            for asked in paragraph["qas"].items():
                query = asked["question"].text()
                if asked.get("is_impossible", False).expect(bool):
                    continue
                answers = _answers(asked["answers"])
                questions.append(DocumentQuestion(query, answers, (own,), related, (own,)))
    return list(number), questions


def _answers(field: Field) -> tuple[str, ...]:
    found = [answer["text"].text() for answer in field.items()]
    if not found:
        raise ValueError(f"{field.where} has no answer, and is_impossible does not say so")
    return tuple(dict.fromkeys(found))


def _hotpotqa(data: Field) -> tuple[list[str], list[DocumentQuestion]]:
    number: dict[str, int] = {}
    questions: list[DocumentQuestion] = []
    for asked in data.items():
        own: dict[int, str] = {}
        for paragraph in asked["context"].items():
            pair = list(paragraph.items())
            if len(pair) != 2:
                raise ValueError(f"{paragraph.where} must be a title and a list of sentences")
            title = pair[0].text()
            sentences = [sentence.expect(str) for sentence in pair[1].items()]
            own[number.setdefault(f"{title}\n{''.join(sentences)}", len(number))] = title
        if not own:
            raise ValueError(f"{asked['context'].where} has no paragraph")
        supporting = {
            next(fact.items()).text() for fact in asked.get("supporting_facts", []).items()
        }
        evidence = tuple(i for i, title in own.items() if title in supporting)
        query, answer = asked["question"].text(), asked["answer"].text()
        questions.append(
            DocumentQuestion(query, (answer,), tuple(own), evidence=evidence or tuple(own))
        )
    return list(number), questions
