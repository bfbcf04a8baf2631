"""Models for cells of ``mode=kvpress``: loaded as ever, under a press instead of a memory."""

from __future__ import annotations

from typing import Any, cast

from memollm.evaluation.base import Subject
from memollm.kvpress.inside.building import build
from memollm.kvpress.inside.patching import require_supported
from memollm.kvpress.inside.subject import PressSubject
from memollm.kvpress.mode import KVPress
from memollm.loading import Models
from memollm.memory.ebbinghaus import Memory
from memollm.modes.base import Mode


class PressModels(Models):
    """Makes a subject of any mode that is a press."""

    def subject(self, source: Any, memory: Memory, mode: Mode) -> Subject:
        assert isinstance(mode, KVPress)
        build(mode)  # refused before a model is loaded
        loaded = self.loaded(source, lambda model, config: require_supported(model))
        return cast(Subject, PressSubject(loaded, mode))
