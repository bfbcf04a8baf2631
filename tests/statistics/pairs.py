"""Samples to pair: a run is a list of outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from memollm.statistics.pairing import Matched, match


def answers(right: Sequence[Any], prompts: Sequence[str] | None = None, **more: Any) -> list[dict]:
    """Samples that are right or wrong; with ``prompts``, which of them share one."""
    return [
        {"id": str(i), "correct": bool(it), **({"prompt": prompts[i]} if prompts else {}), **more}
        for i, it in enumerate(right)
    ]


def losses(nll: Sequence[float], tokens: int = 100) -> list[dict]:
    """Windows of so many tokens each."""
    return [{"id": str(i), "nll": it, "tokens": tokens} for i, it in enumerate(nll)]


def matched(ours: Sequence[Any], baseline: Sequence[Any], prompts: Any = None) -> Matched:
    return match(answers(ours, prompts), answers(baseline, prompts))
