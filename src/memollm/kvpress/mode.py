"""A press of kvpress as a mode: its name and settings, as they are typed."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Bool, Float
from torch import Tensor

from memollm.memory.ebbinghaus import Memory
from memollm.modes.base import Mode, Treatment
from memollm.registry import name_of, register


@register("mode", "kvpress")
@dataclass
class KVPress(Mode):
    """The context is read whole, then compressed once by a press of kvpress.

    The protocol is kvpress's own: the press sees the context and nothing of what is asked later,
    prefill is dense, what is kept stays in place for question and answer, and positions go on as
    if nothing had been dropped. The memory's settings play no part.

    Presses are named as kvpress names their files or classes (``snapkv``, ``SnapKVPress``), a
    press of one's own by its import path (``package.module.Class``). One that wraps another takes
    it among its settings: ``mode.press=adakv mode.settings={press: snapkv}``, or with settings of
    its own ``{press: {press: snapkv, window_size: 32}}``.
    """

    graded: ClassVar[bool] = False
    apart: ClassVar[bool] = True
    reads_memory: ClassVar[bool] = False

    press: str = ""
    # share of the context's tokens to drop, in [0, 1); null: 1 - budget, where that is given
    compression_ratio: float | None = None
    settings: Any = None  # the other fields of the press's class, as {name: value}
    seed: int = 0  # of presses that draw at random

    def __post_init__(self) -> None:
        self.settings = {} if self.settings is None else self.settings
        if not isinstance(self.settings, Mapping):
            raise ValueError(
                f"mode.settings={self.settings} is not allowed, it must be {{name: value, ...}}"
            )
        ratio = self.compression_ratio
        if ratio is not None and not 0 <= ratio < 1:  # refuses nan, too
            raise ValueError(
                f"mode.compression_ratio={ratio} is not allowed, it must lie in [0, 1), or be null"
            )

    def check(self, memory: Memory) -> None:
        """Take a budget over as the press's ratio; refuse what of the memory a press cannot do."""
        if name_of(memory.policy) != "ebbinghaus":
            raise ValueError(
                f"policy={name_of(memory.policy)} is not allowed with mode=kvpress, where the "
                "press decides what is dropped"
            )
        if memory.pattern.limits:
            raise ValueError(
                f"pattern={name_of(memory.pattern)} is not allowed with mode=kvpress: a press "
                "leaves attention as it is, to what it keeps"
            )
        budget = memory.budget
        if budget is None:
            return
        if memory.budget_length:
            raise ValueError(
                f"memory.budget_length={memory.budget_length} is not allowed with mode=kvpress: a "
                "press sees its whole context before it drops any of it"
            )
        if isinstance(budget, int):
            raise ValueError(
                f"budget={budget} is not allowed with mode=kvpress, a press keeps a share of its "
                "context: give budget=<share in (0, 1)> or mode.compression_ratio"
            )
        if self.compression_ratio is not None:
            raise ValueError(
                f"budget={budget} and mode.compression_ratio={self.compression_ratio} are not "
                "allowed together: the ratio is 1 - budget"
            )
        self.compression_ratio = 1 - budget

    def fingerprint(self) -> str:
        """The version of kvpress, which decides results beside the fields."""
        try:
            return importlib.metadata.version("kvpress")
        except importlib.metadata.PackageNotFoundError:
            return ""

    def treat(
        self, retention: Float[Tensor, "batch pairs"] | None, forgotten: Bool[Tensor, "batch pairs"]
    ) -> Treatment:
        raise ValueError(
            "mode=kvpress cannot be attached to a model: a press acts in a process of its own, "
            "through run.py; in Python use kvpress itself, as `with press(model): ...`"
        )
