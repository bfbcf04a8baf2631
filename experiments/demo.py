"""Ask a language model something, and watch its KV cache forget.

  python experiments/demo.py                                   one answer, token by token
  python experiments/demo.py --compare --memory_strength 0.1   all modes side by side
  python experiments/demo.py --mode sparse_attention --threshold 0.5 --memory_strength 0.1 --verbose
  python experiments/demo.py --prompts prompts.txt --out answers
                                  a folder of answers that one can hand to a colleague

The same from the main command line: python run.py task=generate task.prompt="..." (every setting of
the memory is there, too).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as with python -m

from experiments import script
from memollm.generation.files import read_prompts, require_empty
from memollm.generation.settings import PROMPT, Settings

MODES = ("baseline", "soft_delete", "sparse_attention")


def main(arguments: Sequence[str] | None = None) -> int:
    """Refuse what is wrong, then load the model; exit code 2: refused."""
    return script.run(_parser(), _run, arguments)


def _run(given: argparse.Namespace) -> None:
    settings = Settings(given.max_tokens, given.temperature, given.force_exact_length, given.seed)
    memory = script.memory(given)
    if not given.prompt:
        raise ValueError("--prompt is empty: give a text")
    prompts = read_prompts(given.prompts) if given.prompts else [given.prompt]
    if given.out:
        require_empty(given.out, "--out")

    from memollm.generation.run import compared, streamed, three_modes  # imports transformers
    from memollm.hf.llm import EbbinghausLLM

    llm = EbbinghausLLM(given.model, memory=memory)
    if not (given.compare or given.prompts or given.out):
        mode = three_modes()[given.mode]
        streamed(llm, given.prompt, given.mode, mode, settings, given.verbose)
        return
    described = {key: str(it) if isinstance(it, Path) else it for key, it in vars(given).items()}
    compared(llm, prompts, {}, settings, described, out=given.out, details=given.verbose)


def _parser() -> argparse.ArgumentParser:
    parser = script.parser("demo.py", __doc__)
    add = parser.add_argument
    add("--mode", choices=MODES, default="sparse_attention")
    add("--prompt", default=PROMPT, help="what to continue")
    add(
        "--prompts",
        type=Path,
        metavar="FILE",
        help='many: one a line, or .jsonl with a field "prompt"; implies --compare',
    )
    add("--out", type=Path, metavar="FOLDER", help="leave the comparison there; implies --compare")
    add("--max_tokens", type=int, default=50, metavar="N", help="to generate (default 50)")
    add("--force_exact_length", action="store_true", help="go on where the model ends its text")
    add("--compare", action="store_true", help="all modes side by side")
    add("--verbose", action="store_true", help="what each layer knew of each token at the end")
    add("--temperature", type=float, metavar="T", help="draw tokens (default: the likeliest)")
    add("--seed", type=int, default=0, help="of the draws")
    script.add_memory(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
