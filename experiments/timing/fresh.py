"""Timing as the documents do it, in a fresh process: each mode once, in order, without a warm-up.

``python -m experiments.timing.fresh MODEL MODE...`` prints a line of JSON: what it found.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.timing.claims import MAX_TOKENS, TEMPERATURE

ROOT = Path(__file__).parents[2]
PROMPT = "Please explain what artificial intelligence is."


@dataclass(frozen=True)
class Timing:
    """One call of ``generate``."""

    mode: str
    tokens: int
    seconds: float

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds


def in_a_fresh_process(model: str, modes: Sequence[str]) -> list[Timing]:
    """Time ``modes``, one after the other, in a process that has done nothing before.

    Raises:
        RuntimeError: if the process failed, with what it said.
    """
    command = [sys.executable, "-m", "experiments.timing.fresh", model, *modes]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr.strip()[-2000:]}")
    return [Timing(**it) for it in json.loads(done.stdout.splitlines()[-1])]


def timed(llm: Any, modes: Sequence[str]) -> list[Timing]:
    """One call for each of ``modes``, with the settings of the documents.

    Args:
        llm: an EbbinghausLLM.
        modes: names.
    """
    found = []
    for mode in modes:
        result = llm.generate(
            PROMPT, max_new_tokens=MAX_TOKENS, generation_mode=mode, temperature=TEMPERATURE,
            do_sample=True, seed=0,
        )  # fmt: skip
        found.append(Timing(mode, result["num_tokens"], result["generation_time"]))
    return found


def main(arguments: Sequence[str]) -> None:
    """Load the model, time, print."""
    from experiments.timing.loading import loaded
    from memollm.hf.llm import EbbinghausLLM

    model, *modes = arguments
    found = loaded(model)
    llm = EbbinghausLLM(found.model, tokenizer=found.tokenizer)
    print(json.dumps([vars(it) for it in timed(llm, modes)]))


if __name__ == "__main__":
    main(sys.argv[1:])
