"""Answers on a terminal. What a model says is shown as text, whatever it says."""

from __future__ import annotations

import math
from collections.abc import Callable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from memollm.generation.answer import Answer, TokenMemory
from memollm.generation.comparison import Comparison
from memollm.generation.told import headline, lifetime, parting
from memollm.memory.ebbinghaus import Memory
from memollm.report.inert import visible

LISTED = 12  # tokens


def stream_to(console: Console, text: str) -> None:
    """A token's text as it comes; line breaks stay, other control characters are made visible."""
    safe = "\n".join(visible(line) for line in text.split("\n"))
    console.print(Text(safe), end="", soft_wrap=True)
    console.file.flush()


def say(console: Console, text: str = "") -> None:
    """A line of ours."""
    console.print(Text(text), soft_wrap=True)


def after(console: Console, answer: Answer, memory: Memory) -> None:
    """What is to be said once an answer has been streamed."""
    say(console, f"\n\n{headline(answer)}")
    for layer in answer.details:
        _layer(console, layer, answer.details[layer], answer.tokens)
    if note := lifetime(memory, answer):
        say(console, note)


def side_by_side(
    console: Console, comparison: Comparison, memory: Memory, decode: Callable[[list[int]], str]
) -> None:
    """The answers to one prompt: what was said, at what cost, and where they part."""
    answers = comparison.answers
    console.print(Text(visible(comparison.first.prompt), style="bold"), soft_wrap=True)
    console.print()
    texts = Table(*answers, show_lines=True, expand=True)
    texts.add_row(*(Text(visible(it.text)) for it in answers.values()))
    console.print(texts)
    _numbers(console, comparison)
    for mode in list(answers)[1:]:
        say(console, parting(comparison, mode, decode))
    notes = {lifetime(memory, it) for it in answers.values()} - {None}
    for note in sorted(filter(None, notes)):
        say(console, note)
    for mode, answer in answers.items():
        for layer, known in answer.details.items():
            _layer(console, layer, known, answer.tokens, f"{mode}, ")


def _numbers(console: Console, comparison: Comparison) -> None:
    table = Table(
        "mode", "tokens", "seconds", "tokens/s", "first token (s)", "kept tokens",
        "mean retention", "differs from first",
    )  # fmt: skip
    for mode, answer in comparison.answers.items():
        at = comparison.differs_at(mode)
        retention = [it for it in answer.retention.values() if not math.isnan(it)]
        table.add_row(
            mode,
            str(len(answer.ids)),
            f"{answer.seconds:.2f}",
            f"{answer.tokens_per_second:.1f}",
            f"{answer.first_token:.2f}",
            f"{answer.kept_share:.0%}",
            f"{sum(retention) / len(retention):.3f}" if retention else "",
            "" if at is None else f"from token {at + 1}",
        )
    console.print(table)
    say(
        console,
        "One run each, after a warm-up: for speeds that can be compared see "
        "experiments/performance.py. Kept tokens: mean over all layers.",
    )


def _layer(
    console: Console, layer: int, known: TokenMemory, tokens: list[str], before: str = ""
) -> None:
    """What one layer knew at the end: retention, strengths, and which tokens it forgot."""
    kept = [index for index, it in enumerate(known.kept) if it]
    gone = [index for index, it in enumerate(known.kept) if not it]
    retention = [known.retention[index] for index in kept]
    strong = sorted(kept, key=lambda index: -known.strength[index])[:LISTED]
    line = f"{before}layer {layer}: {len(kept)} of {len(known.kept)} tokens kept"
    if retention and not math.isnan(retention[0]):
        strength = [known.strength[index] for index in kept]
        line += (
            f", retention {min(retention):.3f} to {max(retention):.3f} (mean "
            f"{sum(retention) / len(retention):.3f}), strength {min(strength):.2f} to "
            f"{max(strength):.2f}"
        )
        line += f"\n  strongest: {_listed(strong, tokens)}"
    say(console, line + (f"\n  forgotten: {_listed(gone[:LISTED], tokens)}" if gone else ""))
    if len(gone) > LISTED:
        say(console, f"  and {len(gone) - LISTED} more")


def _listed(indices: list[int], tokens: list[str]) -> str:
    return "  ".join(f"{index}:{visible(tokens[index])!r}" for index in indices)
