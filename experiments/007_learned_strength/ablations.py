"""What each part of a training of gates is worth: short trainings that differ in one setting.

    python experiments/007_learned_strength/ablations.py SOURCES SHARES HELD_OUT [folder]

The first three are those of ``task.sources``, ``task.shares`` and ``task.held_out``, as JSON lists.
Every training takes the same few steps on sequences of 512 tokens; its gates then keep a quarter
of the tokens of needles (1024 tokens, question unseen) and of text (windows of 2048). The table,
with 95 % intervals of the paired difference from the first row, goes to ``ablations.md``. A
training that is there already is not repeated.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from memollm.evaluation.asking import Asking
from memollm.evaluation.base import Evaluation, Sample
from memollm.evaluation.needle import NeedleInAHaystack
from memollm.evaluation.perplexity import Perplexity
from memollm.evaluation.prompts import Kind
from memollm.gating.config import GateTraining, Scope
from memollm.gating.train import train
from memollm.hf.models import ReferenceModel
from memollm.hf.subject import HFSubject
from memollm.memory.budget import BudgetBy
from memollm.memory.ebbinghaus import Memory
from memollm.memory.granularity import Granularity
from memollm.memory.strength.base import Strength
from memollm.memory.strength.constant import Constant
from memollm.memory.strength.learned import Learned
from memollm.modes.sparse_attention import SparseAttention
from memollm.statistics.comparison import compare
from memollm.statistics.pairing import match, outcome_of

BASE: dict[str, Any] = {"steps": 120, "lengths": [512]}
CHANGES: dict[str, dict[str, Any]] = {
    "the defaults": {},
    "capacity x 2": {"capacity": 0.04},
    "a lifetime for each KV head": {"scope": Scope.head},
    "gates read keys": {"reads": "keys"},
    "capacity holds the budget, not rank": {"budget_by": BudgetBy.threshold, "capacity": 1.0},
    "attention alone": {"distillation": 0.0, "attention": 1.0},
    "KL alone": {"attention": 0.0},
    "another seed": {"seed": 1},
    "linear gates": {"hidden": 0},
    "no sharpening": {"sharpness": 1.0},
    "next token, too": {"next_token": 0.5},
    "twice the steps": {"steps": 240},
}
EVALUATIONS: dict[str, Evaluation] = {
    "needles": NeedleInAHaystack(
        lengths=[1024], kinds=[Kind.multi_query], samples_per_cell=10, asking=Asking.unseen
    ),
    "perplexity": Perplexity(context=2048),
}
Found = Mapping[str, list[Sample]]


def measured(loaded: Any, birth: Strength, granularity: Granularity) -> Found:
    """Samples of both evaluations, under a memory of a quarter."""
    memory = Memory(birth=birth, budget=0.25, layer_fraction=1.0, granularity=granularity)
    subject: Any = HFSubject(loaded.model, loaded.tokenizer, memory, SparseAttention())
    return {name: list(it.samples(subject)) for name, it in EVALUATIONS.items()}


def row(name: str, ours: Found, base: Found) -> str:
    cells = [name]
    for task, evaluation in EVALUATIONS.items():
        main = {"needles": "accuracy_unseen", "perplexity": "perplexity"}[task]
        cells.append(f"{evaluation.metrics(ours[task])[main].value:.3f}")
        if ours is base:
            cells.append("")
            continue
        pairs = match(ours[task], base[task])
        outcome = outcome_of(pairs.pairs)
        assert outcome is not None
        apart = compare([pairs], outcome, exponential=task == "perplexity")
        low, high = apart.interval or (apart.value, apart.value)
        cells.append(f"{apart.value:+.3f} ({low:+.3f}..{high:+.3f})")
    return "| " + " | ".join(cells) + " |"


def main(training: GateTraining, folder: Path) -> None:
    loaded: Any = ReferenceModel().load()
    for evaluation in EVALUATIONS.values():
        evaluation.prepare()
    lines = [
        "| gates | needles | from the defaults | perplexity | from the defaults |",
        "| --- | --- | --- | --- | --- |",
    ]
    base: Found | None = None
    table = Path(__file__).parent / "ablations.md"

    def tell(name: str, birth: Strength, granularity: Granularity = Granularity.layer) -> None:
        nonlocal base
        found = measured(loaded, birth, granularity)
        base = base or found
        lines.append(row(name, found, base))
        print(lines[-1], flush=True)
        table.write_text("\n".join(lines) + "\n", encoding="utf-8")  # what is done stays

    for name, changes in CHANGES.items():
        config = replace(training, **{**BASE, **changes})
        where = folder / name.replace(" ", "_").replace(",", "")
        tokenizer = loaded.tokenizer.backend_tokenizer
        trained = train(config, loaded.model, tokenizer, loaded.name, where)
        weights = str(trained.path)
        tell(name, Learned(weights))
        if config.scope is Scope.head:
            tell(f"{name}, which forgets alone", Learned(weights), Granularity.head)
        if not changes:
            tell("the defaults, rehearsed by attention", Learned(weights, rehearsed=True))
    tell("none: constant strength", Constant())


if __name__ == "__main__":
    torch.set_num_threads(1)
    sources, shares, held_out = (json.loads(it) for it in sys.argv[1:4])
    main(
        GateTraining(sources=sources, shares=shares, held_out=held_out),
        Path(sys.argv[4] if len(sys.argv) > 4 else "outputs/gates/ablations"),
    )
