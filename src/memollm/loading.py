"""Models, loaded once for all cells of a process that use them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

from memollm.evaluation.base import Subject
from memollm.memory.ebbinghaus import Memory
from memollm.modes.base import Mode
from memollm.registry import describe, name_of


class Models:
    """Keeps the model that was loaded last; a second one rarely fits beside it."""

    def __init__(self) -> None:
        self._key: str | None = None
        self._loaded: Any = None

    def subject(self, source: Any, memory: Memory, mode: Mode) -> Subject:
        """The model that ``source`` describes, with ``memory`` under ``mode``.

        Raises:
            ValueError: for a mode that acts in a process of its own.
        """
        from memollm.hf.calibration import require_length  # imports transformers
        from memollm.hf.families import memory_layers
        from memollm.hf.subject import HFSubject

        if mode.apart:
            raise ValueError(
                f"mode={name_of(mode)} acts in a process of its own: measure it with run.py"
            )

        def check(model: Any, config: Any) -> None:
            if mode.has_memory:
                memory_layers(model, config, memory)
                require_length(config, memory)

        loaded = self.loaded(source, check)
        subject = HFSubject(loaded.model, loaded.tokenizer, memory, mode, loaded.name)
        return cast(Subject, subject)  # a tokenizer's decode may give a list; of one text, never

    def loaded(self, source: Any, check: Callable[[Any, Any], object]) -> Any:
        """The model that ``source`` describes (hf.models.Loaded), as it comes.

        Args:
            source: where it comes from.
            check: called with its class and configuration before any weights are read.
        """
        key = json.dumps(describe(source), sort_keys=True)
        if key != self._key:
            self.forget()  # give the old one's memory back first
            self._loaded = source.load(check)
            self._key = key
        return self._loaded

    def forget(self) -> None:
        """Let go of the model, and of the memory that it takes."""
        self._key = self._loaded = None
