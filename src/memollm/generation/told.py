"""Answers in words: what a mode did, where two texts part, and why nothing was forgotten."""

from __future__ import annotations

from collections.abc import Callable

from memollm.generation.answer import Answer
from memollm.generation.comparison import Comparison
from memollm.memory.ebbinghaus import Memory
from memollm.report.inert import visible

CONTEXT = 8  # tokens shown before the place where two texts part
DRAWN = 3  # tokens shown after it


def headline(answer: Answer) -> str:
    """One line on speed and memory."""
    rate = answer.decode_tokens_per_second
    decoding = "" if rate is None else f", then {rate:.1f} tokens/s"
    line = (
        f"{answer.mode}: {len(answer.ids)} tokens in {answer.seconds:.2f} s "
        f"({answer.tokens_per_second:.1f} tokens/s; first token after "
        f"{answer.first_token:.2f} s{decoding})"
    )
    if not answer.kept:
        return f"{line}; no memory"
    mean = sum(answer.kept.values()) / len(answer.kept)
    return (
        f"{line}; {mean:.0f} of {answer.seen} tokens kept, mean over the {len(answer.kept)} layers "
        f"(of {answer.layers}) that have a memory"
    )


def parting(comparison: Comparison, mode: str, decode: Callable[[list[int]], str]) -> str:
    """Where the answer under ``mode`` leaves the first one, with the words around it."""
    first, other = comparison.first, comparison.answers[mode]
    at = comparison.differs_at(mode)
    if at is None:
        return f"{mode}: the same text as {first.mode}"
    before = visible(decode(first.ids[max(0, at - CONTEXT) : at]))
    ours, theirs = (_from(it, at, decode) for it in (other, first))
    return (
        f"{mode}: differs from {first.mode} at token {at + 1}, after {before!r}: {ours} instead of "
        f"{theirs}"
    )


def lifetime(memory: Memory, answer: Answer) -> str | None:
    """Why a memory under a threshold kept every token; None where it did not, or only weakens them.

    The lifetime is that of a token that no later one attends to.
    """
    if not answer.kept or answer.graded or min(answer.kept.values()) < answer.seen:
        return None
    if not memory.policy.fades or memory.budget is not None or memory.schedule.moves:
        return "Nothing was forgotten."
    least = min(it.value for it in memory.thresholds(len(answer.kept)) if it.value is not None)
    tokens = memory.lifetime_tokens(least)
    return (
        f"Nothing was forgotten: a token that nothing rehearses lives {tokens:.0f} tokens "
        f"(memory_strength {memory.strength:g}, threshold {least:g}), and this text has "
        f"{answer.seen}. Lower memory_strength or raise threshold to see it forget."
    )


def _from(answer: Answer, at: int, decode: Callable[[list[int]], str]) -> str:
    drawn = answer.ids[at : at + DRAWN]
    return repr(visible(decode(drawn))) if drawn else "the end"
