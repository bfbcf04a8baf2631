"""Generating text: what the model of a cell says to a prompt, and what its memory did meanwhile."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from memollm.generation.files import read_prompts
from memollm.generation.settings import PROMPT, Settings
from memollm.record import Measured, Result
from memollm.registry import name_of, register
from memollm.tasks.base import Curves, Task


@register("task", "generate")
@dataclass
class Generate(Task):
    """Continues a prompt, token by token, under the mode and memory of the cell.

    With ``compare`` or ``prompts`` the baseline and the modes ``soft_delete`` and
    ``sparse_attention`` answer beside the cell's own, and the folder of the run gets a
    subfolder ``answers`` that stands for itself.
    """

    under_mode: ClassVar[bool] = True

    prompt: str = PROMPT
    prompts: str | None = None  # a file of them: one a line, or .jsonl with a field "prompt"
    max_tokens: int = 50  # to generate
    temperature: float | None = None  # null: the likeliest token each time
    force_exact_length: bool = False  # go on after the model has ended its text
    compare: bool = False
    verbose: bool = False  # what each layer knew at the end

    def __post_init__(self) -> None:
        try:
            self._settings(seed=0)
        except ValueError as error:
            raise ValueError(f"task.{error}") from error
        if not self.prompt:
            raise ValueError("task.prompt is empty: give a text")

    def prepare(self, config: Any) -> None:
        if config.mode.apart:
            raise ValueError(
                f"task=generate is not allowed with mode={name_of(config.mode)}, which acts in a "
                "process of its own: measure it with task=measure"
            )
        if self.prompts:
            read_prompts(Path(self.prompts).expanduser())
        config.model.prepare()

    def perform(self, config: Any, folder: Path, curves: Curves) -> Mapping[str, Result]:
        from memollm.generation.run import compared, remembering, streamed  # transformers

        began = time.perf_counter()
        loaded = config.model.load()
        llm = remembering(loaded, config.memory)
        settings, name = self._settings(config.seed), name_of(config.mode)
        if not (self.prompts or self.compare):
            answers = [streamed(llm, self.prompt, name, config.mode, settings, self.verbose)]
        else:
            prompts = [self.prompt]
            if self.prompts:
                prompts = read_prompts(Path(self.prompts).expanduser())
            described = {
                "model": loaded.name, "memory": repr(llm.memory), **vars(self), "seed": config.seed,
            }  # fmt: skip
            answers = compared(
                llm, prompts, {name: config.mode}, settings, described,
                out=folder / "answers", details=self.verbose,
            )  # fmt: skip
        seconds = time.perf_counter() - began
        return {mode: _result(mode, answers, seconds) for mode in {it.mode: 0 for it in answers}}

    def _settings(self, seed: int) -> Settings:
        return Settings(self.max_tokens, self.temperature, self.force_exact_length, seed)


def _result(mode: str, answers: Sequence[Any], seconds: float) -> Result:
    mine = [it for it in answers if it.mode == mode]
    rates = [it.tokens_per_second for it in mine]
    kept = [it.kept_share for it in mine]
    tokens = [float(len(it.ids)) for it in mine]
    return Result(
        seconds,
        {
            "tokens": Measured(statistics.fmean(tokens), "tokens", None, len(mine)),
            "tokens_per_second": Measured(statistics.median(rates), "tokens/s", True, len(mine)),
            "kept_share": Measured(statistics.fmean(kept), "share", None, len(mine)),
        },
    )
