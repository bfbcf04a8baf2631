"""``memollm-lm-eval``: lm-eval's own command line, with ``memollm`` among its models.

    memollm-lm-eval --tasks memollm_long
        --model_args pretrained=reference,mode=sparse_attention,threshold=0.01

takes every argument that ``lm-eval`` takes, and knows the bundled tasks by name. ``pretrained``
is ``reference``, a hub id or a folder; all other keys of ``--model_args`` that describe the model
and its memory are those of ``run.py``, dots and all (``memory.sinks=8``). From Python:

    from memollm.lm_eval_command import register

    register()
    lm_eval.simple_evaluate("memollm", model_args={"pretrained": "reference"}, tasks=[...])
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from memollm import identity
from memollm.config import RunConfig, live, register_schemas
from memollm.loading import Models
from memollm.refusals import COMPOSITION, explain
from memollm.replay import quoted

CONF = Path(__file__).parents[2] / "conf"
MODEL = ("device", "dtype", "revision", "trust_remote_code")  # lm-eval's names of model.<key>
ELSEWHERE = ("model", "evaluation", "tracker", "outputs", "resume", "force", "experiment", "hydra")


def main() -> int:
    """Run lm-eval on the command line's arguments. Exit code 2: something was refused."""
    from memollm.evaluation.harness import command

    register()
    try:
        command.run(cell_hash)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def register() -> None:
    """Make ``memollm`` a model of lm-eval, in this process."""
    from memollm.evaluation.harness import command

    command.register(subject, cell_hash)


def subject(arguments: Mapping[str, Any]) -> Any:
    """The model that ``arguments`` describe, under its memory.

    Raises:
        ValueError: for a key or a value that is not allowed, before anything is loaded.
    """
    config = cell(arguments)
    config.model.prepare()
    return Models().subject(config.model, config.memory, config.mode)


def cell_hash(arguments: Mapping[str, Any]) -> str:
    """A hash of everything that decides an answer: model, mode, memory, source and machine."""
    return identity.config_hash(identity.evaluation_hashes(cell(arguments)))


def cell(arguments: Mapping[str, Any]) -> RunConfig:
    """``arguments`` as ``run.py`` would compose them."""
    if not CONF.is_dir():
        raise ValueError(
            "the configuration folder conf/ is missing: memollm-lm-eval works from a checkout "
            "(git clone, then pip install -e .)"
        )
    register_schemas()
    overrides = ["evaluation=[lm_eval]", "tracker=none", *_overrides(arguments)]
    try:
        with initialize_config_dir(str(CONF), version_base="1.3", job_name="lm_eval"):
            return live(compose("config", overrides=overrides))
    except COMPOSITION as error:
        raise ValueError(explain(error, overrides)) from error


def _overrides(arguments: Mapping[str, Any]) -> list[str]:
    given = dict(arguments)
    pretrained = str(given.pop("pretrained", "reference"))
    overrides = ["model=reference"]
    if pretrained != "reference":
        overrides = ["model=hf", f"model.name={quoted(pretrained)}"]
    for key, value in given.items():
        if key.partition(".")[0] in ELSEWHERE:
            raise ValueError(f"model_args: {key} is no key of a model and its memory")
        overrides.append(f"{'model.' if key in MODEL else ''}{key}={quoted(value)}")
    return overrides


if __name__ == "__main__":
    sys.exit(main())
