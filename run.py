"""The command line: ``python run.py --help`` answers at once, all else imports what it needs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

CONF = Path(__file__).resolve().parent / "conf"
USAGE = """What does a language model lose, and gain, when its KV cache forgets?

  python run.py                                       one cell: model, mode, all evaluations
  python run.py mode=soft_delete threshold=0.05       another one
  python run.py model=hf model.name=<hub id or folder>
  python run.py -m mode=baseline,sparse_attention threshold=0.001,0.01,0.1
                                                      a sweep: a cell for each combination
  python run.py experiment=three_modes                a sweep from conf/experiment
  python -m memollm.report outputs/multirun           the table once more

  threshold        retention below which a token is forgotten: a number, a list with one per
                   memory layer, {first: a, last: b}, or auto with memory.budget
  memory_strength  how slowly a token fades that nothing rehearses
  layer_fraction   share of the layers, counted from the first, that have the memory
  seed, outputs=<folder of runs>, force=true (measure again what is finished)
  limit=<samples of each evaluation>, debug=true (short and few, to see that it works)
  dry_run=true     say what would be run, resumed or taken over, and run nothing

--cfg job shows every other setting, with what was given so far; --hydra-help lists more flags.

Parts to choose from, as in mode=baseline:
"""


def main(arguments: list[str]) -> int:
    """Answer a question at once, and leave all else to what is slow to import."""
    if {"-h", "--help"} & set(arguments):
        print(usage())
        return 0
    # Threads that wait for one another spin for long by default; where other programs run on the
    # same cores, that makes a small model twenty times slower (experiments/LOG.md). Set before
    # torch loads its OpenMP.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    from memollm import command

    return command.main(CONF, arguments)


def usage() -> str:
    """How to call this, and the parts that there are to choose from."""
    groups = sorted(path for path in CONF.iterdir() if path.is_dir() and path.name != "hydra")
    groups += sorted((CONF / "hydra").iterdir())
    choices = [
        f"  {group.relative_to(CONF).as_posix():<16}"
        f"{', '.join(sorted(path.stem for path in group.glob('*.yaml')))}"
        for group in groups
    ]
    return "\n".join([USAGE, *choices])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
