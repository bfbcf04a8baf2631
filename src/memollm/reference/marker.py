"""Which training a folder holds, so that no other one goes on in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from memollm.reference.config import TrainConfig

MARKER = "training.json"
AIMLESS = ("output", "log_every", "checkpoint_every")  # decide no weight


def fingerprint(config: TrainConfig, more: Mapping[str, Any] | None = None) -> str:
    """Of everything that decides the weights: the training, and what else the caller names."""
    decisive = {**asdict(config), **(more or {})}
    for key in AIMLESS:
        del decisive[key]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def claim(folder: Path, fingerprint: str) -> None:
    """Mark a folder as that training's.

    Raises:
        ValueError: if it is another's.
    """
    marker = folder / MARKER
    if marker.exists() and json.loads(marker.read_text())["fingerprint"] != fingerprint:
        raise ValueError(
            f"task.output={folder} is not allowed, another training with other settings began "
            "there: give another folder, or leave it out"
        )
    folder.mkdir(parents=True, exist_ok=True)
    marker.write_text(json.dumps({"fingerprint": fingerprint}))
