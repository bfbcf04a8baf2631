"""What a memory forgets of a text, token by token: ``trace.npz`` and a page to look at it.

    python -m memollm.trace --prompt "Once upon a time"            under the default memory
    python -m memollm.trace --file book.txt threshold=0.05 memory_strength=2
    python -m memollm.trace --run outputs/<date>/<time>            an example that was measured
    python -m memollm.trace --run outputs/<date>/<time> --sample needle/<id>
    python -m memollm.trace --run outputs/<date>/<time> --prompt "Another text, the same memory"

A prompt is read as it is: no chat template is put around it.
"""

from __future__ import annotations

import argparse
import sys
from datetime import datetime
from pathlib import Path

from memollm import record, tracing
from memollm.config import RunConfig
from memollm.loading import Models
from memollm.replay import composed, overrides_of
from memollm.report.inert import clipped, visible
from memollm.traces.file import MAX_BYTES
from memollm.traces.trace import Trace

TRACES = Path("outputs", "traces")  # where traces of no run lie


def main(arguments: list[str]) -> int:
    """Trace what the command line asks for. Exit code 2: it was refused."""
    given = _parser().parse_intermixed_args(arguments)
    try:
        text = _text(given)
        config = _config(given)
        tracing.require_traceable(config)
        if text is None:
            trace = tracing.of_example(config, given.run, given.sample, Models())
        else:
            trace = tracing.of_text(config, text, given.max_new_tokens, Models())
        folder = given.out or given.run or TRACES / datetime.now().strftime("%Y-%m-%d/%H-%M-%S")
        trace, written = tracing.leave(trace, folder, given.max_bytes)
    except (ValueError, OSError) as error:
        print(f"error: {visible(str(error))}", file=sys.stderr)
        return 2
    print(summary(trace))
    print(f"Written to {', '.join(map(str, written))}")
    return 0


def summary(trace: Trace) -> str:
    """What became of the text, in a line for each layer."""
    total, steps = len(trace.tokens), len(trace.seen)
    merged = "" if steps == trace.steps_taken else f" (merged from {trace.steps_taken})"
    lines = [f"{total} tokens, {trace.prompt_tokens} of them the prompt, in {steps} steps{merged}"]
    lines += [f"{key}: {clipped(visible(value))}" for key, value in trace.facts.items()]
    needed = [token for first, past in trace.evidence for token in range(first, past)]
    for layer, gone in zip(trace.layers, trace.forgotten_at > 0, strict=True):
        told = f"layer {layer}: {total - int(gone.sum())} of {total} tokens kept"
        if needed:
            told += f", {len(needed) - int(gone[needed].sum())} of the {len(needed)} needed"
        lines.append(told)
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m memollm.trace",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--run", type=Path, metavar="FOLDER", help="take this run's settings")
    text = parser.add_mutually_exclusive_group()
    text.add_argument("--prompt", metavar="TEXT", help="the text")
    text.add_argument("--file", type=Path, help="or a file (UTF-8) with the text")
    text.add_argument("--sample", metavar="EVALUATION/ID", help="or an example of --run")
    parser.add_argument("--model", help="model=..., the same as for run.py (default reference)")
    parser.add_argument("--mode", help="mode=... (default sparse_attention)")
    parser.add_argument(
        "--max-new-tokens", type=int, default=32, metavar="N", help="to continue it (default 32)"
    )
    parser.add_argument(
        "--max-bytes", type=int, default=MAX_BYTES, metavar="N",
        help=f"of trace.npz; steps are merged until it fits (default {MAX_BYTES:,})",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where both files go")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings, as of run.py")
    return parser


def _text(given: argparse.Namespace) -> str | None:
    """The text to trace; None: an example of the run."""
    if given.max_new_tokens < 0:
        raise ValueError(f"--max-new-tokens={given.max_new_tokens} is not allowed, at least 0 is")
    if given.max_bytes < 1:
        raise ValueError(f"--max-bytes={given.max_bytes} is not allowed, it must be at least 1")
    if given.prompt is None and given.file is None:
        if given.run is None:
            raise ValueError("nothing to trace: give --prompt TEXT, --file FILE or --run FOLDER")
        return None
    text = given.prompt
    if text is None:
        try:
            text = given.file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"--file {given.file} is not UTF-8 text: {error}") from error
    if not text:
        raise ValueError("the text to trace is empty: give one with words in it")
    return text


def _config(given: argparse.Namespace) -> RunConfig:
    named = {"model": given.model, "mode": given.mode}
    changes = [f"{key}={it}" for key, it in named.items() if it] + given.overrides
    for change in changes:
        if "=" not in change:
            raise ValueError(f"{change!r} is not a setting; write key=value")
    if given.run is None:
        return composed(["tracker=none", "evaluation=[perplexity]", *changes])
    run = record.load(given.run)
    if run.config.get("memory") is None:
        mode = (run.config.get("mode") or {}).get("name_")
        raise ValueError(f"{given.run} has no memory to trace (mode={mode})")
    return composed(overrides_of(run.config, changes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
