"""Subjects that answer a task from its prompt: perfectly, or by drawing from what it offers."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable

import torch

from tests.evaluation import ruler_definitions as ruler
from tests.evaluation.scripted import VOCABULARY, Scripted

Answerer = Callable[[str], str]  # the prompt -> what to say


def saying(answerer: Answerer, ends: tuple[str, ...], **fields: object) -> Scripted:
    """A subject that says what ``answerer`` makes of a prompt, which ends with one of ``ends``."""
    known: dict[str, str] = {}

    def predict(tokens: list[int]) -> torch.Tensor:
        text = bytes(tokens).decode(errors="replace")
        cut = max(text.rfind(end) + len(end) for end in ends)
        prompt, said = text[:cut], text[cut:]
        if prompt not in known:
            try:
                known[prompt] = answerer(prompt)
            except (AssertionError, ValueError):  # no question yet
                known[prompt] = ""
        rest = known[prompt].encode()[len(said.encode()) :] or b"\n"
        return torch.zeros(VOCABULARY).index_fill(0, torch.tensor([rest[0]]), 100.0)

    return Scripted(predict, max_length=1 << 20, **fields)


def ends(task: str) -> tuple[str, ...]:
    """What a prompt of the task ends with: the end of its answer prefix."""
    return (ruler.TEMPLATES[ruler.FAMILY[task]][1].rpartition("}")[2], " is")[
        : 2 if task in ruler.NIAH else 1
    ]


def perfect(task: str) -> Answerer:
    """Works the answer out from the prompt alone, or from its documents' marked words."""

    def answer(prompt: str) -> str:
        found = ruler.fields(task, ruler.unsolved(task, prompt)[1])
        context = found["context"]
        if task in ruler.NIAH:
            keys = re.split(r", and |, ", found["query"])
            return " " + ", ".join(v for k, v in ruler.needles(task, context) if k in keys)
        if task == "vt":
            return " ".join(re.findall(r"VAR ([A-Z]+) =", context))
        if task == "cwe":
            words = Counter(re.findall(r"\d+\. (\S+)", context))
            return " ".join(word for word, _ in words.most_common(10))
        if task == "fwe":
            words = Counter(word for word in context.split(" ") if word != "...")
            return " ".join(word for word, _ in words.most_common(3))
        if task == "qa_1":
            paragraph, article = re.findall(r"\d+", found["query"])
            return f" answer{article}x{paragraph}"
        return " answer" + re.findall(r"\d+", found["query"])[0]

    return answer


def guessing(task: str, seed: int = 0) -> Answerer:
    """Draws as many answers as are asked for, out of all that the context has of their kind."""
    rng = random.Random(seed)

    def answer(prompt: str) -> str:
        found = ruler.fields(task, ruler.unsolved(task, prompt)[1])
        context = found["context"]
        if task in ruler.NIAH:
            return " " + rng.choice([value for _, value in ruler.needles(task, context)])
        words = sorted(set(re.findall(r"\d+\. (\S+)", context)))
        return " ".join(rng.sample(words, 10))

    return answer
