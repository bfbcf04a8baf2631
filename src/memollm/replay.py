"""From plain data back to a configuration: what a record says, as overrides that Hydra composes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from memollm.config import RunConfig, live, register_schemas
from memollm.refusals import COMPOSITION, explain

CONF = Path(__file__).parents[2] / "conf"
ELSEWHERE = ("memory", "tracker", "task", "evaluation")  # parts that are no choice to replay as one
NUMBERS = ("threshold", "budget", "memory_strength", "layer_fraction", "seed")
HANDED_DOWN = ("name_", "threshold", "budget", "strength", "layer_fraction")  # of the memory


def composed(overrides: Sequence[str]) -> RunConfig:
    """The cell that ``overrides`` describe, as ``run.py`` would compose it.

    Raises:
        ValueError: for a key or a value that is not allowed, or outside of a checkout.
    """
    if not CONF.is_dir():
        raise ValueError(
            "the configuration folder conf/ is missing: this works from a checkout (git clone, "
            "then pip install -e .)"
        )
    register_schemas()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3", job_name="replay"):
            return live(compose("config", overrides=list(overrides)))
    except COMPOSITION as error:
        raise ValueError(explain(error, list(overrides))) from error


def overrides_of(config: Mapping[str, Any], changes: Sequence[str] = ()) -> list[str]:
    """A recorded configuration as overrides, with ``changes`` in place of what they name.

    >>> recorded = {"mode": {"name_": "sparse_attention", "storage": "evict"}, "seed": 1}
    >>> overrides_of(recorded, ["seed=2"])
    ['tracker=none', 'mode=sparse_attention', 'mode.storage=evict', 'seed=2']
    """
    changed = {it.lstrip("+~").partition("=")[0] for it in changes}
    kept = [
        _override(key, value)
        for key, value in _flat(config)
        if key not in changed and key.partition(".")[0] not in changed
    ]
    return ["tracker=none", *kept, *changes]


def quoted(value: Any) -> str:
    """``value`` in the grammar of Hydra's overrides.

    >>> quoted([0.5, None, True]), quoted({"first": 0.1}), quoted("a b")
    ('[0.5,null,true]', '{first:0.1}', "'a b'")
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(quoted, value))}]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{quoted(item)}" for key, item in value.items()) + "}"
    text = str(value)
    if isinstance(value, str) and not text.replace("_", "").isalnum():
        text = "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return text


def _override(key: str, value: Any) -> str:
    """A dictionary has keys that no schema knows, and that Hydra takes with a ++ alone."""
    adding = "++" if isinstance(value, Mapping) and "." in key else ""
    return f"{adding}{key}={quoted(value)}"


def _flat(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for group, part in config.items():
        if group not in ELSEWHERE and _is_part(part):
            yield group, part["name_"]
            yield from ((f"{group}.{key}", it) for key, it in part.items() if key != "name_")
    for key, value in (config.get("memory") or {}).items():
        if key not in HANDED_DOWN and not _is_part(value):
            yield f"memory.{key}", value
    if evaluations := config.get("evaluation"):
        yield "evaluation", list(evaluations)
        for name, part in evaluations.items():
            for key, value in part.items():
                if key != "name_":
                    yield f"evaluation.{name}.{key}", value
    yield from ((key, config[key]) for key in NUMBERS if key in config)


def _is_part(value: Any) -> bool:
    return isinstance(value, Mapping) and "name_" in value
