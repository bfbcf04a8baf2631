"""lm-eval's registry and command line, told of a model that forgets.

How such a model is loaded is not known here: who registers it says so.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

from lm_eval._cli import HarnessCLI
from lm_eval.api.registry import register_model
from lm_eval.config.evaluate_config import EvaluatorConfig
from lm_eval.utils import setup_logging, simple_parse_args_string

from memollm.evaluation.harness.model import GeneratingSubject, StreamedLM
from memollm.evaluation.harness.suite import TASKS

NAME = "memollm"
Arguments = Mapping[str, Any]
ANSWERING = set(inspect.signature(StreamedLM).parameters) - {"subject", "cell"}  # keys of its own


def register(
    load: Callable[[Arguments], GeneratingSubject], cell: Callable[[Arguments], str]
) -> None:
    """Make ``memollm`` a model of lm-eval.

    Args:
        load: gives the subject that model arguments describe, but for those of ``StreamedLM``.
        cell: gives a hash of them.
    """
    register_model(NAME)(_model_class(load, cell))


@functools.cache  # lm-eval takes a name twice only for the same class
def _model_class(
    load: Callable[[Arguments], GeneratingSubject], cell: Callable[[Arguments], str]
) -> type[StreamedLM]:
    class MemollmLM(StreamedLM):
        @classmethod
        def create_from_arg_obj(
            cls, arg_dict: dict[str, Any], additional_config: dict[str, Any] | None = None
        ) -> StreamedLM:
            extra = {k: v for k, v in (additional_config or {}).items() if v is not None}
            if extra.pop("max_batch_size", None) is not None:
                raise ValueError("max_batch_size is of batch_size=auto, which is not allowed here")
            given = {**extra, **arg_dict}  # the command line always has a batch size
            model, answering = _divided(given)
            return StreamedLM(load(model), **answering, cell=_hash(given, cell))

        @classmethod
        def create_from_arg_string(
            cls, arg_string: str, additional_config: dict[str, Any] | None = None
        ) -> StreamedLM:
            return cls.create_from_arg_obj(simple_parse_args_string(arg_string), additional_config)

    return MemollmLM


def run(cell: Callable[[Arguments], str]) -> None:
    """lm-eval's command line, with defaults that suit: this model, its tasks, whatever device.

    A cache of answers gets the cell's hash at the end of its name.
    """
    setup_logging()
    parser = HarnessCLI()
    args = parser.parse_args()
    if args.command == "run":
        if args.config is None:
            args.model = args.model or NAME
            args.device = args.device or ("auto" if args.model == NAME else None)
        args.include_path = [str(TASKS), *([args.include_path] if args.include_path else [])]
        cached = args.use_cache or args.config  # whose file may ask for a cache
        if cached and (config := EvaluatorConfig.from_cli(args)).use_cache and config.model == NAME:
            given = {"device": config.device, **config.model_args}
            args.use_cache = f"{config.use_cache}-{_hash(given, cell)[:16]}"
    parser.execute(args)


def _divided(given: Arguments) -> tuple[dict[str, Any], dict[str, Any]]:
    model = {key: value for key, value in given.items() if key not in ANSWERING}
    return model, {key: value for key, value in given.items() if key in ANSWERING}


def _hash(given: Arguments, cell: Callable[[Arguments], str]) -> str:
    """Of all that decides an answer: not how many are answered at once."""
    model, answering = _divided(given)
    answering.pop("batch_size", None)
    text = json.dumps([cell(model), answering], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
