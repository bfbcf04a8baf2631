"""Models, loaded once for all cells of a process that use them."""

from __future__ import annotations

import json
from typing import Any, cast

from memollm.evaluation.base import Subject
from memollm.memory.ebbinghaus import Memory
from memollm.modes.base import Mode
from memollm.registry import describe


class Models:
    """Keeps the model that was loaded last; a second one rarely fits beside it."""

    def __init__(self) -> None:
        self._key: str | None = None
        self._loaded: Any = None

    def subject(self, source: Any, memory: Memory, mode: Mode) -> Subject:
        """The model that ``source`` describes, with ``memory`` under ``mode``."""
        from memollm.hf.families import memory_layers  # imports transformers
        from memollm.hf.subject import HFSubject

        def check(model: Any, config: Any) -> None:
            if mode.has_memory:
                memory_layers(model, config, memory)

        key = json.dumps(describe(source), sort_keys=True)
        if key != self._key:
            self._key = self._loaded = None  # give the old one's memory back first
            self._loaded = source.load(check)
            self._key = key
        loaded = self._loaded
        subject = HFSubject(loaded.model, loaded.tokenizer, memory, mode, loaded.name)
        return cast(Subject, subject)  # a tokenizer's decode may give a list; of one text, never
