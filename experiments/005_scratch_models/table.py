"""The table of what ``compare.py`` measured, and the differences from full attention.

    python experiments/005_scratch_models/table.py outputs/multirun/<date>/<time>

Writes ``table.md`` beside this file. Perplexity and needles with 95 % intervals, which treat the
answers to one prompt as one; differences are paired, prompt by prompt. A unigram's perplexity is
that of the token frequencies of the training text, on all of the text that is measured.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from experiments.benchmarks.table import table  # noqa: E402 - the root of the checkout comes first
from memollm import record  # noqa: E402
from memollm.reference import text_path  # noqa: E402
from memollm.statistics.comparison import Difference, compare  # noqa: E402
from memollm.statistics.pairing import Outcome, Sample, match  # noqa: E402

FULL = "full"
OUTCOMES = {"perplexity": Outcome.nll, "needle": Outcome.correct}
LENGTHS = (512, 1024)  # tokens, of needles
CONTEXT = 4096  # tokens, of speed and memory


def main(sweep: Path) -> None:
    """Read the sweep, write the table."""
    runs = {}
    for folder in record.folders_below(sweep):
        found = record.load(folder)
        runs[Path(found.config["model"]["name"]).parent.name] = found, samples(folder)
    rows = [row(name, found) for name, (found, _) in runs.items()]
    head = [
        "attention", "perplexity", *(f"needles, {it}" for it in LENGTHS), "decode, tokens/s",
        "prompt, tokens/s", "cache, MB", "most held, MB",
    ]  # fmt: skip
    apart = ["attention", "perplexity, x of full's", "needles - full's"]
    differences = [
        [name, *(difference(name, theirs, runs[FULL][1], it) for it in OUTCOMES)]
        for name, (_, theirs) in runs.items()
        if name != FULL
    ]
    model = Path(runs[FULL][0].config["model"]["name"])
    text = (
        f"A unigram's perplexity is {unigram(model):.0f}. Speed, cache and most bytes held: at "
        f"{CONTEXT} tokens.\n\n{table(head, rows)}\n\n"
        "Paired differences from full attention, 95 % intervals, p of a sign-flip test:\n\n"
        f"{table(apart, differences)}\n"
    )
    Path(__file__).with_name("table.md").write_text(text, encoding="utf-8")
    print(text)


def samples(folder: Path) -> dict[str, list[Sample]]:
    """Those of each evaluation."""
    found: dict[str, list[Sample]] = {}
    for line in (folder / "samples.jsonl").read_text(encoding="utf-8").splitlines():
        sample: dict[str, Any] = json.loads(line)
        found.setdefault(sample["evaluation"], []).append(sample)
    return found


def row(name: str, found: record.RunRecord) -> list[str]:
    """A model's numbers."""
    perplexity, needle, speed = (
        found.results[it].metrics for it in ("perplexity", "needle", "speed")
    )
    measured = perplexity["perplexity"]
    decode = speed[f"decode_tokens_per_second_{CONTEXT}"]
    return [
        name,
        f"{measured.value:.1f} ± {1.96 * (measured.stderr or math.nan):.1f}",
        *(share(needle, f"accuracy_length_{tokens}") for tokens in LENGTHS),
        f"{decode.value:.0f} ± {1.96 * (decode.stderr or math.nan):.0f}",
        f"{speed[f'prefill_tokens_per_second_{CONTEXT}'].value:.0f}",
        f"{speed[f'kv_bytes_{CONTEXT}'].value / 1e6:.2f}",
        f"{speed[f'peak_bytes_{CONTEXT}'].value / 1e6:.0f}",
    ]


def share(metrics: Mapping[str, record.Measured], key: str) -> str:
    """A share with its interval, in percent."""
    it = metrics[key]
    spread = f" ± {196 * it.stderr:.0f}" if it.stderr else ""
    return f"{100 * it.value:.0f}{spread} % of {it.n}"


def difference(
    name: str,
    ours: Mapping[str, Sequence[Sample]],
    full: Mapping[str, Sequence[Sample]],
    evaluation: str,
) -> str:
    """Ours less full attention's; for perplexity, the ratio by the mean loss."""
    outcome = OUTCOMES[evaluation]
    found = compare([match(ours[evaluation], full[evaluation])], outcome)
    return written(found, math.exp if outcome is Outcome.nll else lambda it: 100 * it)


def written(found: Difference, unit: Any) -> str:
    """A difference in another unit, with its interval."""
    interval = " to ".join(f"{unit(it):.2f}" for it in found.interval or ())
    return f"{unit(found.value):.2f} ({interval}; p {found.p:.2g}; {found.prompts} prompts)"


def unigram(model: Path) -> float:
    """Perplexity of the measured text by the training text's token counts, each raised by 1."""
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    counts = np.ones(tokenizer.get_vocab_size())
    for stream in sorted(model.parent.glob("text/stream*.npy")):
        counts += np.bincount(np.load(stream), minlength=len(counts))
    ids = tokenizer.encode(text_path().read_text(encoding="utf-8")).ids
    return math.exp(-float(np.log(counts / counts.sum())[ids].mean()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
