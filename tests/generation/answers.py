"""Answers made by hand."""

from __future__ import annotations

from memollm.generation.answer import Answer
from memollm.generation.comparison import Comparison


def answer(mode: str = "baseline", **changes: object) -> Answer:
    """An answer of four tokens in two seconds, half a second of them for the first."""
    settings = {
        "prompt": "Why?", "mode": mode, "text": "so it is", "ids": [5, 6, 7, 8], "prompt_tokens": 2,
        "seconds": 2.0, "first_token": 0.5, "kept": {}, "seen": 0, "retention": {}, "layers": 4,
        "graded": False,
    }  # fmt: skip
    return Answer(**{**settings, **changes})


def comparison(**others: object) -> Comparison:
    """The baseline's answer, and one under a memory that forgot half in one of four layers."""
    forgot = {"kept": {0: 4}, "seen": 8, "retention": {0: 0.5}, **others}
    return Comparison(
        {"baseline": answer(), "sparse_attention": answer("sparse_attention", **forgot)}
    )
