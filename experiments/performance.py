"""Is a forgetting cache twice as fast? Short, medium and long texts, three modes, honest timing.

  python experiments/performance.py                                 the bundled model
  python experiments/performance.py --model random_qwen2_5_0_5b --long 512 --turns 5
                                    the architecture of the claims, with random weights
  python experiments/performance.py --memory_strength 0.5 --threshold 0.3 --layer_fraction 1
                                    a memory that forgets most

Prints measured speeds beside those that the documents this project grew from claim, and what of
them is an artefact of measuring, each with its evidence. On a CPU: one thread, and its processor
time; in fresh processes wall time, as in the documents.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as with python -m

from experiments import script
from experiments.timing.claims import BASELINE
from experiments.timing.fresh import in_a_fresh_process
from experiments.timing.verdict import conclusions, orders, table


def main(arguments: Sequence[str] | None = None) -> int:
    """Refuse what is wrong before a model is loaded, with exit code 2."""
    return script.run(_parser(), _run, arguments)


def _run(given: argparse.Namespace) -> None:
    memory = script.memory(given)
    contexts = {name: getattr(given, name) for name in ("short", "medium", "long")}
    _check(given, contexts)

    from experiments.timing import honest
    from experiments.timing.loading import source
    from memollm.evaluation.base import Subject
    from memollm.evaluation.text import load, tokenise
    from memollm.generation.run import three_modes
    from memollm.hf.models import RandomModel
    from memollm.hf.subject import HFSubject

    origin = source(given.model)
    loaded = origin.load()
    subjects = {
        name: cast(Subject, HFSubject(loaded.model, loaded.tokenizer, memory, mode, loaded.name))
        for name, mode in three_modes().items()
    }
    limit = subjects[BASELINE].max_length
    if max(contexts.values()) > limit:
        raise ValueError(f"--long={given.long} is not allowed, {loaded.name} takes {limit} tokens")
    text = load("bundled", "text", "text").joined
    stream = tokenise((text,), loaded.tokenizer)[0]
    title = f"Model {loaded.name}, memory_strength {memory.strength:g}, layer_fraction "
    title += f"{memory.layer_fraction:g}, threshold {memory.threshold}.\n"
    print(title, flush=True)
    found = honest.paces(
        subjects, stream, contexts, rounds=given.rounds, turns=given.turns, burst=given.burst
    )
    quality = {}
    if not isinstance(origin, RandomModel):  # random weights have no quality to lose
        ids = stream[: max(contexts.values())]
        quality = {name: honest.perplexity(it, ids) for name, it in subjects.items()}
    busy = os.getloadavg()[0]
    fresh = {
        name: [in_a_fresh_process(given.model, modes) for modes in runs]
        for name, runs in orders(given.fresh).items()
    }
    said = conclusions(found, memory, fresh, busy)
    report = table(found, quality) + "\n\n" + "".join(f"- {line}\n" for line in said)
    print(report)
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        (given.out / "table.md").write_text(f"{title}\n{report}", encoding="utf-8")
        numbers = {
            "paces": honest.plain(found),
            "perplexity": quality,
            "fresh": {key: [[vars(it) for it in run] for run in it] for key, it in fresh.items()},
            "load_average": busy,
        }
        (given.out / "results.json").write_text(json.dumps(numbers, indent=1), encoding="utf-8")


def _check(given: argparse.Namespace, contexts: dict[str, int]) -> None:
    for name in ("rounds", "turns", "burst"):
        if getattr(given, name) < 1:
            raise ValueError(f"--{name}={getattr(given, name)} is not allowed, at least 1 is")
    if given.fresh < 0:
        raise ValueError(f"--fresh={given.fresh} is not allowed, at least 0 is")
    decoded = given.turns * given.burst
    for name, context in contexts.items():
        if context <= decoded:
            raise ValueError(
                f"--{name}={context} is not allowed, it must be longer than the turns * burst = "
                f"{decoded} tokens that are decoded"
            )


def _parser() -> argparse.ArgumentParser:
    parser = script.parser("performance.py", __doc__)
    add = parser.add_argument
    add("--short", type=int, default=72, help="tokens of prompt and answer (%(default)s)")
    add("--medium", type=int, default=512, help="the same (%(default)s)")
    add("--long", type=int, default=4096, help="the same (%(default)s)")
    add("--rounds", type=int, default=1, help="prompts of each length (%(default)s)")
    add("--turns", type=int, default=13, help="of each mode in a round (%(default)s)")
    add("--burst", type=int, default=4, help="tokens decoded in a turn (%(default)s)")
    add(
        "--fresh",
        type=int,
        default=1,
        metavar="N",
        help="fresh processes for each order of modes; 0: none (%(default)s)",
    )
    script.add_memory(parser)
    add("--out", type=Path, metavar="FOLDER", help="leave table.md and results.json there")
    return parser


if __name__ == "__main__":
    sys.exit(main())
