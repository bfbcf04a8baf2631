"""When rehearsal pays: the tables of ``experiment=rehearsal``.

    python experiments/009_rehearsal/table.py outputs/multirun [more folders]

Every cell is compared with the window of as many tokens (gain 0, no recall threshold; or
``policy=window``) on the same prompts. Beside the answers: how many tokens were held, and how much
of the first and of the last mention in the layer that looks facts up, when the question came.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memollm.report.cells import Cell, read
from memollm.report.paired import Samples
from memollm.report.wording import interval
from memollm.statistics.comparison import Difference
from memollm.statistics.corrections import Correction, corrected

EVALUATION = "needle"
ASKING = {"unseen": "accuracy_unseen", "streamed": "accuracy"}  # and the metric's name
MENTIONS = ("once", "massed", "spaced")
KINDS = {"": "all", "_single_key": "one needle a prompt", "_multi_query": "five needles a prompt"}
RETRIEVING = 2  # of the bundled model's layers: cut off, it finds nothing (its card)
ALPHA = 0.05
Rule = tuple[float, float | None]  # gain, recall threshold
WINDOW: Rule = (0.0, None)


@dataclass(frozen=True)
class Setting:
    """What the cells of a table have in common."""

    budget: float | None  # None: a threshold decides, and cells keep what they keep
    window: float | None  # budget of policy=window to compare those with
    time_step: float
    chunk: int  # prefill_chunk


def chosen(cells: Sequence[Cell], setting: Setting) -> dict[tuple[str, str, Rule], Cell]:
    """Cells by asking, mentions and rule; the newest of each."""
    found = {}
    for cell in cells:
        memory = cell.record.config.get("memory")
        if memory is None or EVALUATION not in cell.record.results:
            continue
        asked = cell.record.config["evaluation"][EVALUATION]
        if (memory["time_step"], memory["prefill_chunk"]) != (setting.time_step, setting.chunk):
            continue
        if memory["policy"]["name_"] == "window" and memory["budget"] == setting.window:
            found[asked["asking"], asked["mentions"], WINDOW] = cell
        if memory["policy"]["name_"] == "ebbinghaus" and memory["budget"] == setting.budget:
            rule = memory["reinforcement"], memory["recall_threshold"]
            found[asked["asking"], asked["mentions"], rule] = cell
    return found


def compared(
    found: Mapping[tuple[str, str, Rule], Cell], samples: Samples
) -> dict[tuple[str, str, Rule, str], Difference]:
    """Each cell less the window, over all answers and over those of each kind."""
    differences = {}
    for (asking, mentions, rule), cell in found.items():
        window = found.get((asking, mentions, WINDOW))
        for kind in KINDS if window is not None and rule != WINDOW else ():
            metric = ASKING[asking] + kind
            difference = samples.compare([(cell, window)], EVALUATION, metric)  # pyright: ignore
            differences[asking, mentions, rule, kind] = difference
    return differences


def tables(cells: Sequence[Cell], setting: Setting) -> Iterator[str]:
    """Answers, by asking and kind; then what was held of the needles."""
    samples, found = Samples(), chosen(cells, setting)
    differences = compared(found, samples)
    p = corrected([it.p for it in differences.values()], Correction.holm)
    clear = {key: it <= ALPHA for key, it in zip(differences, p, strict=True)}
    rules = sorted({rule for _, _, rule in found}, key=lambda it: (it[0], it[1] or 0))
    for asking in ASKING:
        for kind, words in KINDS.items():
            if not any(key[0] == asking for key in found):
                continue
            yield f"\nQuestion {asking}, {words}: found, %; difference from the window.\n"
            yield _line(["gain", "recall threshold", *(f"said {it}" for it in MENTIONS)])
            yield _line(["---"] * (2 + len(MENTIONS)))
            for rule in rules:
                texts = []
                for mentions in MENTIONS:
                    cell = found.get((asking, mentions, rule))
                    key = (asking, mentions, rule, kind)
                    texts.append(_entry(cell, asking, kind, differences.get(key), clear.get(key)))
                yield _line([f"{rule[0]:g}", _recall(rule), *texts])
    yield "\nTokens kept when the question came, %, all layers.\n"
    yield from _by_rule(found, rules, lambda it: _kept(samples.of(it, EVALUATION)))
    yield f"\nHeld of a needle in layer {RETRIEVING} at the question, %: first / last mention.\n"
    yield from _by_rule(found, rules, lambda it: _held(samples.of(it, EVALUATION)))
    n = len(differences)
    yield f"\nIn square brackets: not resolved at 5 % after Holm's correction for {n} comparisons."


def _entry(
    cell: Cell | None, asking: str, kind: str, it: Difference | None, clear: bool | None
) -> str:
    if cell is None:
        return "-"
    value = cell.record.results[EVALUATION].metrics[ASKING[asking] + kind].value
    text = f"{100 * value:.1f}"
    if it is None:
        return text
    apart = f"{100 * it.value:+.0f}{interval(it, 100.0)}"
    return f"{text}; {apart if clear else f'[{apart}]'}"


def _by_rule(
    found: Mapping[tuple[str, str, Rule], Cell], rules: Sequence[Rule], told: Callable[[Cell], str]
) -> Iterator[str]:
    """A table of what is ``told`` of each cell."""
    yield _line(["question", "gain", "recall threshold", *(f"said {it}" for it in MENTIONS)])
    yield _line(["---"] * (3 + len(MENTIONS)))
    for asking in ASKING:
        for rule in rules:
            those = [found.get((asking, mentions, rule)) for mentions in MENTIONS]
            if any(those):
                texts = [told(it) if it else "-" for it in those]
                yield _line([asking, f"{rule[0]:g}", _recall(rule), *texts])


def _kept(answers: Sequence[Mapping[str, Any]]) -> str:
    """Share of the tokens seen that are in the cache, mean over layers and prompts."""
    shares = [it["memory"]["kept_share"] for it in answers]
    return f"{100 * math.fsum(shares) / len(shares):.0f}"


def _held(answers: Sequence[Mapping[str, Any]]) -> str:
    """Shares of the first and the last mention's tokens that are still in the cache."""
    shares: list[list[float]] = [[], []]
    for it in answers:
        spans = it["evidence"]
        lost = it["forgotten_evidence"][RETRIEVING]
        widths = [past - first for first, past in spans]
        first, last = lost[: widths[0]], lost[len(lost) - widths[-1] :]
        for held, part in zip(shares, (first, last), strict=True):
            held.append(sum(token is None for token in part) / len(part))
    return " / ".join(f"{100 * math.fsum(held) / len(held):.0f}" for held in shares)


def _recall(rule: Rule) -> str:
    return "none" if rule[1] is None else f"{rule[1]:g}"


def _line(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--budget", type=float, default=0.25)
    parser.add_argument(
        "--by-threshold", type=float, metavar="BUDGET",
        help="cells without a budget, against policy=window with this one",
    )  # fmt: skip
    parser.add_argument("--time-step", type=float, default=0.01)
    parser.add_argument("--chunk", type=int, default=256, help="prefill_chunk")
    arguments = parser.parse_args()
    window = arguments.by_threshold
    budget = arguments.budget if window is None else None
    setting = Setting(budget, window, arguments.time_step, arguments.chunk)
    for line in tables(read(arguments.folders).cells, setting):
        print(line)


if __name__ == "__main__":
    main()
