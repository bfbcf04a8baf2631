"""Six small models, alike but for their attention: trained the same way, then measured.

    python experiments/005_scratch_models/compare.py 'task.shares=[0.5,0.45,0.05]' \
        'task.sources=[<novels.tar.xz>,<wiki.train.tokens>,docstrings]' 'task.held_out=[...]'

with what the reference model's README holds out. Every layer of a model has the same mechanism, but
for the mixture. All start from the same hand-made retrieval circuit (``reference/initialise.py``),
which wants to look up keys at any distance in its third layer: what a mechanism cannot see there,
it cannot find. Trained models and finished measurements are taken over by the next call, so that it
goes on where it was stopped. Arguments are given to every training; without any, docstrings are the
text. ``table.py`` beside this file makes the table of what was measured.
"""

from __future__ import annotations

import shutil
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
    "linear": "linear",
    "nsa": "nsa",
    "block_sparse": "block_sparse",
    "mixture": "[local,block_sparse,full,linear]",
}
MECHANISMS = {
    "local": "{window_size: 128}",
    "block_sparse": "{block_size: 64}",
    "nsa": "{block_size: 32, block_counts: 4, window_size: 128}",
}
TRAINING = [
    "task=train", "model=scratch", "model.circuit=true", "tracker=none", "task.steps=400",
    "task.length=256", "task.sequences=8", "task.needle=0.15", "task.dense=0.4", "task.copy=0.15",
    "task.learning_rate=0.0015", "task.warmup=150", "task.bfloat16=true",
]  # fmt: skip
MEASURING = [
    "-m", "mode=baseline", "model=scratch", "tracker=none", "evaluation=[perplexity,needle,speed]",
    "evaluation.perplexity.max_tokens=16384", "evaluation.perplexity.context=1024",
    "evaluation.needle.lengths=[512,1024]", "evaluation.needle.samples_per_cell=6",
    "evaluation.speed.contexts=[4096]", "evaluation.speed.rounds=1",
    "evaluation.speed.turns=5",
]  # fmt: skip


def settings(name: str) -> str:
    """Of the mechanisms that a model has."""
    used = {"local", "block_sparse"} if name == "mixture" else {name}
    chosen = [f"{it}: {MECHANISMS[it]}" for it in sorted(used) if it in MECHANISMS]
    return "{" + ", ".join(chosen) + "}"


def main(arguments: list[str]) -> int:
    """Train what is not trained yet, then measure all in one sweep."""
    for name, attention in MODELS.items():
        folder = OUTPUTS / name
        if not (folder / "model" / "config.json").exists():
            share_text(folder)
            told = [
                f"model.attention={attention}",
                f"model.mechanisms={settings(name)}",
                f"task.output={folder}",
            ]
            if code := command.main(CONF, [*TRAINING, *told, *arguments]):
                return code
    models = ",".join(str(OUTPUTS / name / "model") for name in MODELS)
    return command.main(CONF, [*MEASURING, f"model.name={models}"])


def share_text(folder: Path) -> None:
    """The tokenized text of a model that is trained already: it takes minutes to make.

    A training looks whether it is of its own sources.
    """
    made = [it for it in OUTPUTS.glob("*/text") if it.with_name("model").exists()]
    if made and not (folder / "text").exists():
        shutil.copytree(made[0], folder / "text")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
