"""What gates keep: lifetimes by layer, head and kind of token, as a table and a picture.

    python experiments/007_learned_strength/lifetimes.py [strength.weights] [folder]

Prompts are needles in the bundled text, as the evaluation asks them; gates read what the untouched
model gives its layers.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor

from memollm.evaluation.needle import NeedleInAHaystack
from memollm.evaluation.prompts import Kind
from memollm.hf.inputs import given_inputs, watching_inputs
from memollm.hf.models import ReferenceModel
from memollm.hf.subject import HFSubject
from memollm.memory.ebbinghaus import Memory
from memollm.memory.strength.learned import BUNDLED, Learned
from memollm.modes.baseline import Baseline

PROMPTS, TOKENS = 4, 1024
KINDS = ("needle: value", "needle: rest", "number", "capitalised", "punctuation", "word")
SHOWN = 60  # tokens of the picture, around a needle


def lifetimes(subject: Any, gates: Learned, ids: Sequence[int]) -> list[Tensor]:
    """Lifetimes (tokens, heads) of a prompt's tokens, layer by layer."""
    found: dict[Any, Tensor] = {}
    layers = gates.gates().layers
    with watching_inputs(subject.model, layers) as modules, torch.no_grad():
        hooks = [
            it.register_forward_hook(
                lambda module, *_: found.update({module.layer_idx: given_inputs(module)})
            )
            for it in modules
        ]
        subject.model(torch.tensor([list(ids)]))
        for hook in hooks:
            hook.remove()
        return [layers[layer](found[layer])[0].exp() for layer in sorted(layers)]


def kinds(words: list[str], spans: list[tuple[int, int]]) -> list[int]:
    """Which of ``KINDS`` each token is."""
    needle = {i for begin, end in spans for i in range(begin, end)}
    found = []
    for place, word in enumerate(words):
        bare = word.strip()
        if place in needle:
            found.append(0 if bare.isdigit() else 1)
        elif bare.isdigit():
            found.append(2)
        elif bare[:1].isupper():
            found.append(3)
        else:
            found.append(5 if bare[:1].isalpha() else 4)
    return found


def table(rows: list[tuple[int, int, np.ndarray, np.ndarray]]) -> str:
    """Quantiles of each layer and head, and the median of each kind of token."""
    head = "| layer | head | 5% | 50% | 95% | 99% | held of 1024 | " + " | ".join(KINDS) + " |"
    lines = [head, "| " + " --- |" * (7 + len(KINDS))]
    for layer, which, life, kind in rows:
        quantiles = " | ".join(f"{np.quantile(life, q):.0f}" for q in (0.05, 0.5, 0.95, 0.99))
        ages = np.tile(np.arange(TOKENS)[::-1], len(life) // TOKENS + 1)[: len(life)]
        held = np.exp(-ages / life).sum() / PROMPTS
        medians = " | ".join(
            f"{np.median(life[kind == k]):.0f}" if (kind == k).any() else "-"
            for k in range(len(KINDS))
        )
        lines.append(f"| {layer} | {which} | {quantiles} | {held:.0f} | {medians} |")
    return "\n".join(lines)


def picture(words: list[str], life: list[Tensor], begin: int, path: Path) -> None:
    """Lifetimes of a passage: a row for each layer and head, a column for each token."""
    rows = torch.cat([it.T for it in life])[:, begin : begin + SHOWN].numpy()
    labels = [
        f"layer {layer}" if it.shape[1] == 1 else f"layer {layer}, head {head}"
        for layer, it in enumerate(life)
        for head in range(it.shape[1])
    ]
    figure, axes = plt.subplots(figsize=(15, 1.6 + 0.34 * len(rows)), layout="constrained")
    image = axes.imshow(np.log10(rows), aspect="auto", cmap="viridis", vmin=0, vmax=4.5)
    axes.set_yticks(range(len(rows)), labels)
    shown = [it.replace("\n", "⏎") or " " for it in words[begin : begin + SHOWN]]
    axes.set_xticks(range(len(shown)), shown, rotation=90, fontsize=8)
    axes.set_title("How long each token will be remembered if nothing rehearses it")
    bar = figure.colorbar(image, ax=axes, ticks=range(5))
    bar.ax.set_yticklabels(["1", "10", "100", "1k", "10k"])
    bar.set_label("lifetime (tokens)")
    figure.savefig(path, dpi=110)


def main(weights: str, folder: Path) -> None:
    loaded = ReferenceModel().load()
    subject: Any = HFSubject(loaded.model, loaded.tokenizer, Memory(), Baseline())
    gates = Learned(weights)
    asked = NeedleInAHaystack(
        lengths=[TOKENS], kinds=[Kind.multi_query], samples_per_cell=PROMPTS, seed=1
    )
    asked.prepare()
    life: list[list[Tensor]] = []
    kind: list[int] = []
    for cell in asked._cells():
        prompt = asked._prompt(subject, cell)
        words = [str(loaded.tokenizer.decode([token])) for token in prompt.ids]
        spans = [span for question in prompt.questions for span in question.spans]
        life.append(lifetimes(subject, gates, prompt.ids))
        kind += kinds(words, spans)
        if len(life) == 1:
            picture(words, life[0], spans[0][0] - 18, folder / "lifetimes.png")
    rows = [
        (layer, head, torch.cat([it[layer][:, head] for it in life]).numpy(), np.array(kind))
        for layer in range(len(life[0]))
        for head in range(life[0][layer].shape[1])
    ]
    text = table(rows)
    (folder / "lifetimes.md").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    given = sys.argv[1:]
    main(
        given[0] if given else BUNDLED, Path(given[1]) if len(given) > 1 else Path(__file__).parent
    )
