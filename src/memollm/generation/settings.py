"""What is asked, and how answers are drawn."""

from __future__ import annotations

from dataclasses import dataclass

PROMPT = "What does a reader remember of a long story when the last page is turned?"


@dataclass(frozen=True)
class Settings:
    """How answers are drawn."""

    max_tokens: int = 50  # to generate, at most
    temperature: float | None = None  # None: the likeliest token each time
    force_exact_length: bool = False  # go on after the model has ended its text
    seed: int = 0  # of the draws

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens={self.max_tokens} is not allowed, it must be at least 1")
        if self.temperature is not None and not self.temperature > 0:
            raise ValueError(
                f"temperature={self.temperature} is not allowed, it must be > 0; leave it out for "
                "the likeliest token each time"
            )
