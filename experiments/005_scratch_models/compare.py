"""Six small models, alike but for their attention: trained the same short way, then measured.

    python experiments/005_scratch_models/compare.py [key=value ...]

Every layer of a model has the same mechanism, but for the mixture. All start from the same
hand-made retrieval circuit (``reference/initialise.py``), which wants to look up keys at any
distance: what a mechanism cannot see, it cannot find. Trained models and finished measurements are
taken over by the next call, so that it goes on where it was stopped. Further arguments are given
to every training (``task.steps=50``).
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"
sys.path.insert(0, str(ROOT))

from memollm import command  # noqa: E402 - the root of the checkout comes first

OUTPUTS = Path("outputs/scratch_models")
MODELS = {  # name: mechanism of each layer
    "full": "full",
    "local": "local",
    "block_sparse": "block_sparse",
    "nsa": "nsa",
    "linear": "linear",
    "mixture": "[local,block_sparse,full,linear]",
}
MECHANISMS = {
    "local": "{window_size: 128}",
    "block_sparse": "{block_size: 64}",
    "nsa": "{block_size: 32, block_counts: 4, window_size: 128}",
}
TRAINING = [
    "task=train", "model=scratch", "model.circuit=true", "tracker=none", "task.steps=300",
    "task.length=512", "task.sequences=2", "task.needle=0.3", "task.dense=0.2", "task.copy=0.1",
]  # fmt: skip
MEASURING = [
    "-m", "mode=baseline", "model=scratch", "tracker=none", "evaluation=[perplexity,needle,speed]",
    "evaluation.perplexity.max_tokens=8192", "evaluation.perplexity.context=1024",
    "evaluation.needle.lengths=[512,1024]", "evaluation.needle.samples_per_cell=2",
    "evaluation.speed.contexts=[512,2048]", "evaluation.speed.rounds=1", "evaluation.speed.turns=5",
]  # fmt: skip


def settings(name: str) -> str:
    """Of the mechanisms that a model has."""
    used = {"local", "block_sparse"} if name == "mixture" else {name}
    chosen = [f"{it}: {MECHANISMS[it]}" for it in sorted(used) if it in MECHANISMS]
    return "{" + ", ".join(chosen) + "}"


def main(arguments: list[str]) -> int:
    """Train what is not trained yet, then measure all in one sweep, which ends in the table."""
    for name, attention in MODELS.items():
        folder = OUTPUTS / name
        if not (folder / "model" / "config.json").exists():
            told = [
                f"model.attention={attention}",
                f"model.mechanisms={settings(name)}",
                f"task.output={folder}",
            ]
            if code := command.main(CONF, [*TRAINING, *told, *arguments]):
                return code
    models = ",".join(str(OUTPUTS / name / "model") for name in MODELS)
    return command.main(CONF, [*MEASURING, f"model.name={models}"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
