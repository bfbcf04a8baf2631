"""Asking a question of what was read: when the memory learns of it, and when an answer ends."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any

import torch

from memollm.evaluation.base import Session, Subject, Tokenizer
from memollm.evaluation.streaming import greedy
from memollm.evaluation.tasks.example import Prompt


class Asking(StrEnum):
    """What the memory knows of a question while the context passes."""

    streamed = "streamed"  # context and question are one prompt, as generate() would see it
    unseen = "unseen"  # forgetting is done with the context before the question comes (kvpress)


class Stop(StrEnum):
    """What ends an answer before its tokens are used up."""

    published = "published"  # a special token, and having said all that was asked for
    line = "line"  # the end of its first line, too; this may change scores

    @property
    def texts(self) -> list[str]:
        """Texts that no answer goes on after."""
        return ["\n"] if self is Stop.line else []


@dataclasses.dataclass(frozen=True)
class Ending:
    """When an answer is over, before its tokens are used up; a special token always ends it."""

    tokenizer: Tokenizer
    stop: Sequence[str] = ()  # texts that end an answer
    complete: Callable[[str], bool] | None = None  # whether nothing that follows could matter

    def __call__(self, answer: list[int]) -> bool:
        text = self.tokenizer.decode(answer)
        if any(stop in text for stop in self.stop):
            return True
        if self.complete is not None and self.complete(text):
            return True
        last = answer[-1:]
        return not self.tokenizer.decode(last, skip_special_tokens=True) and bool(
            self.tokenizer.decode(last)
        )


def feed(session: Session, ids: Sequence[int], device: torch.device) -> None:
    """Let ``session`` read, and say nothing."""
    with torch.no_grad():
        session.forward(torch.tensor([list(ids)], device=device), last_only=True)


def answer(
    subject: Subject, prompt: Prompt, asking: Asking, max_new_tokens: int, ended: Ending
) -> tuple[str, dict[str, Any]]:
    """The greedy answer to ``prompt``, and what the memory made of it: part of a sample.

    The text is without special tokens, and ends before the first of the texts that end it.
    """
    with subject.session(ledger=True) as session:
        ids = prompt.ids
        if asking is Asking.unseen:
            feed(session, prompt.context, subject.device)
            ids = prompt.question
        said = greedy(session, ids, max_new_tokens, device=subject.device, ended=ended)
        found = _found(session, prompt, asking)
    text = subject.tokenizer.decode(said, skip_special_tokens=True)
    for stop in ended.stop:
        text = text.partition(stop)[0]
    return text, found


def interview(
    subject: Subject,
    turns: Sequence[Sequence[int]],
    prompts: Sequence[Prompt],
    asking: Asking,
    max_new_tokens: int,
) -> list[tuple[str, dict[str, Any]]]:
    """Answers to questions that are put one after another, each following the last answer.

    Args:
        subject: who is asked.
        turns: what is read before, one forward pass each; with the first question in one pass
            where the question is not unseen.
        prompts: the questions, each with all turns as its context.
        asking: what the memory knows of the first question.
        max_new_tokens: of each answer, which ends with its sentence or its line.
    """
    stops = _answer_ends(subject.tokenizer)
    fed = [token for turn in turns for token in turn]
    said: list[str] = []
    with subject.session(ledger=True) as session:
        if asking is Asking.unseen:
            for turn in turns:
                feed(session, turn, subject.device)
            fed = []
        for prompt in prompts:
            ids = [*fed, *prompt.question]
            answered = greedy(session, ids, max_new_tokens, stops, subject.device)
            said.append(subject.tokenizer.decode(answered))
            fed = [token for token in answered[-1:] if token not in stops]
        found = [_found(session, prompt, asking) for prompt in prompts]
    return list(zip(said, found, strict=True))


def starting_number(answer: str) -> str:
    """The digits that the answer begins with: "12345." is right, "123456" is not."""
    found = re.match(r"\s*(\d*)", answer)
    return found[1] if found else ""


def _answer_ends(tokenizer: Tokenizer) -> set[int]:
    """Tokens no number goes on after, so that an answer is no longer than it need be."""
    encoded = [tokenizer.encode(end, add_special_tokens=False) for end in (".", "\n", ".\n")]
    return {ids[-1] for ids in encoded if ids}


def _found(session: Session, prompt: Prompt, asking: Asking) -> dict[str, Any]:
    return {
        "asking": str(asking),
        "prompt_hash": prompt.hash,
        "prompt_tokens": len(prompt.ids),
        "evidence": [list(span) for span in prompt.evidence],
        "forgotten_evidence": forgotten(session, prompt.evidence),
        "memory": dataclasses.asdict(session.memory_use()),
    }


def forgotten(session: Session, spans: Sequence[tuple[int, int]]) -> list[list[list[int] | None]]:
    """Per memory layer and token of the ``spans``: its position and when it was forgotten.

    That is in tokens seen; None if the token is kept.
    """
    positions = [position for first, past in spans for position in range(first, past)]
    return [
        [None if at is None else [i, at] for i, at in zip(positions, times, strict=True)]
        for times in session.forgotten(positions)
    ]
