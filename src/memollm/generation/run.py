"""From prompts to what is seen: on the terminal, and in a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from memollm.generation import console, folder
from memollm.generation.answer import Answer, answer
from memollm.generation.comparison import compare
from memollm.generation.settings import Settings
from memollm.hf.llm import EbbinghausLLM
from memollm.hf.models import Loaded
from memollm.memory.ebbinghaus import Memory
from memollm.modes.base import Mode
from memollm.modes.baseline import Baseline
from memollm.modes.soft_delete import SoftDelete
from memollm.modes.sparse_attention import SparseAttention
from memollm.report.terminal import screen


def three_modes() -> dict[str, Mode]:
    """The modes that are compared unless told otherwise; the untouched model first."""
    return {
        "baseline": Baseline(),
        "soft_delete": SoftDelete(),
        "sparse_attention": SparseAttention(),
    }


def remembering(loaded: Loaded, memory: Memory) -> EbbinghausLLM:
    """A loaded model with a memory."""
    return EbbinghausLLM(loaded.model, tokenizer=loaded.tokenizer, memory=memory)


def streamed(
    llm: EbbinghausLLM, prompt: str, name: str, mode: Mode, settings: Settings, verbose: bool
) -> Answer:
    """One answer, shown token by token as it is generated."""
    terminal = screen()
    console.stream_to(terminal, prompt)
    given = answer(
        llm, prompt, name, mode, settings,
        show=lambda text: console.stream_to(terminal, text), details=verbose,
    )  # fmt: skip
    console.after(terminal, given, llm.memory)
    return given


def compared(
    llm: EbbinghausLLM,
    prompts: Sequence[str],
    modes: Mapping[str, Mode],
    settings: Settings,
    described: Mapping[str, Any],
    *,
    out: Path | None = None,
    details: bool = False,
) -> list[Answer]:
    """Answers to each prompt under the three modes and ``modes``; written to ``out``."""
    terminal = _wide()
    found = []
    every = {**three_modes(), **modes}
    for number, comparison in enumerate(compare(llm, prompts, every, settings, details=details), 1):
        if len(prompts) > 1:
            console.say(terminal, f"\nPrompt {number} of {len(prompts)}")
        console.side_by_side(
            terminal, comparison, llm.memory, lambda ids: str(llm.tokenizer.decode(ids))
        )
        found.append(comparison)
    if out is not None:
        written = folder.write(found, described, out)
        console.say(terminal, f"\n{out}: {', '.join(path.name for path in written)}")
    return [it for comparison in found for it in comparison.answers.values()]


def _wide() -> Console:
    """A file or pipe gets columns of a width that can be read, not endless lines."""
    console = Console()
    return console if console.is_terminal else Console(width=120)
