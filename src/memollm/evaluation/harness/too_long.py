"""What becomes of a request that is longer than the model's context."""

from __future__ import annotations

from enum import StrEnum


class TooLong(StrEnum):
    """Refused before anything is measured, or cut and counted."""

    refuse = "refuse"
    cut = "cut"  # as lm-eval does: prompts lose their beginning, documents fall into windows
