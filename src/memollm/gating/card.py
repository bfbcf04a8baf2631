"""The card beside gates: what they are, for which model, and how they were made."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import yaml

from memollm.gating.config import GateTraining
from memollm.memory.strength.gates_file import Fit

TEXT = """---
library_name: memollm
tags: [kv-cache, forgetting]
---
# Strength gates for {model}

A gate for each layer (of {layers}), {per}; it reads {width} numbers of
each token ({reads}) and gives the token's lifetime. Use them with

    python run.py strength=learned strength.weights=<this folder or its hub id>

on the very weights they were trained for (fingerprint `{weights}`): others are refused.

Trained for {steps} steps; the last step's terms: {last}. Settings:

```yaml
{settings}```
"""


def write(fit: Fit, config: GateTraining, steps: int, last: dict[str, float], folder: Path) -> None:
    """``README.md`` beside the gates, as the hub shows it."""
    settings = {
        key: list(value) if isinstance(value, (list, tuple)) else getattr(value, "value", value)
        for key, value in asdict(config).items()
    }
    per = "one lifetime a token" if config.scope == "layer" else "one for each key-value head"
    text = TEXT.format(
        model=fit.model, layers=fit.layers, per=per, width=fit.width, reads=fit.reads,
        weights=fit.weights, steps=steps, settings=yaml.safe_dump(settings, sort_keys=False),
        last=", ".join(f"{key} {value:.3g}" for key, value in last.items()),
    )  # fmt: skip
    (folder / "README.md").write_text(text, encoding="utf-8")
