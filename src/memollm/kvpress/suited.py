"""Which evaluations a press can be measured with.

A press compresses once, after the context has been read. What is scored while the context
streams by is scored before anything is dropped, and says nothing of the press.
"""

from __future__ import annotations

from collections.abc import Mapping

from memollm.evaluation.base import Evaluation

# What each evaluation must be set to, as (field, value); None: nothing.
SUITED: Mapping[str, tuple[str, str] | None] = {
    "continuation": None,
    "needle": ("asking", "unseen"),
    "ruler": ("asking", "unseen"),
    "key_value": ("asking", "unseen"),
    "speed": None,
}
INSTEAD = {"perplexity": "take continuation, perplexity after a context was compressed"}


def require_suited(evaluations: Mapping[str, Evaluation]) -> None:
    """Refuse evaluations that would not feel a press, all of them at once.

    Raises:
        ValueError: naming each, and what to type instead.
    """
    wrong = []
    for name, evaluation in evaluations.items():
        if name not in SUITED:
            wrong.append(f"{name} streams its context: {INSTEAD.get(name, 'leave it out')}")
            continue
        needed = SUITED[name]
        if needed is not None and str(getattr(evaluation, needed[0])) != needed[1]:
            key, given = f"evaluation.{name}.{needed[0]}", getattr(evaluation, needed[0])
            wrong.append(f"{key}={given} is not allowed, type {key}={needed[1]}")
    if wrong:
        raise ValueError(
            "mode=kvpress compresses once, after the context was read; what is scored before says "
            f"nothing of the press. {'; '.join(wrong)}. Presses are measured by {', '.join(SUITED)}"
        )
