"""The adapter to Hugging Face models: ``from memollm.hf import attach``."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "attach":  # imports transformers, which not everything in this room needs
        from memollm.hf.attachment import attach

        return attach
    raise AttributeError(f"module 'memollm.hf' has no attribute {name!r}")
