"""A folder of answers that one can hand to a colleague: nothing else is needed to read it."""

from __future__ import annotations

import csv
import io
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from memollm import provenance, record
from memollm.generation.comparison import Comparison
from memollm.generation.page import page

COLUMNS = (
    "prompt_number", "prompt", "mode", "text", "tokens", "prompt_tokens", "seconds",
    "first_token_seconds", "tokens_per_second", "kept_share", "mean_retention",
    "differs_from_first_at_token",
)  # fmt: skip


def write(
    comparisons: Sequence[Comparison], settings: Mapping[str, Any], folder: Path
) -> list[Path]:
    """Leave the results, and all that is needed to read and repeat them, in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    commit, dirty = provenance.revision()
    origin = {
        "commit": commit,
        "dirty": dirty,
        "versions": provenance.versions(),
        "machine": provenance.machine(),
    }
    prompts = [{"prompt": it.first.prompt} for it in comparisons]
    files = {
        "README.md": _readme(comparisons, settings),
        "answers.csv": comma_separated(comparisons),
        "answers.html": page(comparisons, settings),
        "prompts.jsonl": "".join(json.dumps(it, ensure_ascii=False) + "\n" for it in prompts),
        "config.json": json.dumps(settings, indent=1, ensure_ascii=False) + "\n",
        "versions.json": json.dumps(origin, indent=1) + "\n",
    }
    for name, content in files.items():
        record.replace(folder / name, content)
    return [folder / name for name in files]


def comma_separated(comparisons: Sequence[Comparison]) -> str:
    """A line for each prompt and mode."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for number, comparison in enumerate(comparisons, 1):
        for mode, it in comparison.answers.items():
            at = comparison.differs_at(mode)
            retention = list(it.retention.values())
            mean = f"{sum(retention) / len(retention):.6g}" if retention else ""
            writer.writerow([
                number, it.prompt, mode, it.text, len(it.ids), it.prompt_tokens,
                f"{it.seconds:.4f}", f"{it.first_token:.4f}", f"{it.tokens_per_second:.4f}",
                f"{it.kept_share:.6g}", mean, "" if at is None else at + 1,
            ])  # fmt: skip
    return text.getvalue()


def _readme(comparisons: Sequence[Comparison], settings: Mapping[str, Any]) -> str:
    modes = list(comparisons[0].answers)
    lines = [
        "# Answers under several modes of a forgetting KV cache",
        "",
        f"{len(comparisons)} prompts, each answered under {', '.join(modes)} by the model "
        f"`{settings.get('model')}`.",
        "",
        "- `answers.html`: read this one; it loads nothing from the network.",
        "- `answers.csv`: a line for each prompt and mode. `kept_share` is the mean over all "
        "layers of the share of tokens that can still be seen; `differs_from_first_at_token` is "
        f"where the text leaves that of `{modes[0]}` (empty: never).",
        "- `prompts.jsonl`, `config.json`, `versions.json`: what was asked, how, and with what.",
        "",
        "Times are of one run each, after a warm-up, in turns: they show what to expect, and are "
        "no benchmark.",
        "",
        "Made by:",
        "",
        f"    {shlex.join(sys.argv)}",
        "",
    ]
    return "\n".join(lines)
