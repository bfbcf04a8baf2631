"""When two cells would measure the same: hashes of everything that decides a result.

Each evaluation has its own hash, so that a result is found again whatever else its run measured.
Who records, who watches and where the files lie do not count; nor do the memory's numbers in a
mode without memory, so that a sweep over thresholds has one baseline, nor those that the memory's
policy does not read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from memollm import provenance
from memollm.config import RunConfig
from memollm.memory.ebbinghaus import Memory
from memollm.modes.base import Mode
from memollm.modes.baseline import Baseline
from memollm.registry import describe

OF_THE_MEMORY = (
    "threshold", "schedule", "budget", "policy", "strength", "memory_strength", "layer_fraction",
    "retention",
)  # fmt: skip
OF_FORGETTING = tuple(key for key in OF_THE_MEMORY if key != "layer_fraction")
# What of a memory decides results where nothing is forgotten.
OF_ATTENDING = ("layer_fraction", "pattern")


@runtime_checkable
class Fingerprinted(Protocol):
    """A part that depends on more than its fields: a file's content, say."""

    def fingerprint(self) -> str: ...


def evaluation_hashes(config: RunConfig) -> dict[str, str]:
    """A hash for each evaluation of ``config``: equal where the results would be."""
    return _hashes(config, config.mode)


def baseline_hashes(config: RunConfig) -> dict[str, str]:
    """The hashes that the same evaluations of the untouched model would have."""
    return _hashes(config, Baseline())


def config_hash(evaluation_hashes: Mapping[str, str]) -> str:
    """One hash for the whole cell."""
    return _digest(dict(evaluation_hashes))


def cell_hash(config: RunConfig) -> str:
    """One hash for a cell, whatever its task."""
    if not config.task.measures:
        return task_hash(config)
    return config_hash(evaluation_hashes(config))


def task_hash(config: RunConfig) -> str:
    """A hash of what decides the outcome of a task that does not measure."""
    parts = {"task": config.task, "model": config.model, "memory": config.memory}
    if config.task.under_mode:
        parts["mode"] = config.mode
    named = {name: _identity(part) for name, part in parts.items()}
    return _digest({**named, "seed": config.seed, "source": provenance.source()})


def described(config: RunConfig) -> dict[str, Any]:
    """``config`` as plain data, with no memory in a mode without one.

    In a mode that forgets by rules of its own, what is said of the memory is left out; in one that
    forgets nothing, what is said of forgetting.
    """
    plain = describe(config)
    if not config.mode.reads_memory:
        return {key: it for key, it in plain.items() if key not in OF_THE_MEMORY} | {"memory": {}}
    if not config.mode.has_memory:
        return {**plain, "memory": None}
    if not config.mode.forgets:
        others = {key: it for key, it in plain.items() if key not in OF_FORGETTING}
        kept = ("name_", *OF_ATTENDING)
        return others | {"memory": {key: plain["memory"][key] for key in kept}}
    return plain


def _hashes(config: RunConfig, mode: Mode) -> dict[str, str]:
    versions, machine = provenance.versions(), provenance.machine()
    limit = {} if config.limit is None else {"limit": config.limit}
    common = {
        **limit,
        "source": provenance.source(),
        "versions": {name: versions.get(name) for name in ("memollm", "torch", "transformers")},
        "machine": {**machine, "gpus": sorted(set(machine["gpus"]))},  # however many of a kind
        "model": _identity(config.model),
        "mode": _identity(mode),
        "memory": _memory(config.memory, mode) if mode.has_memory and mode.reads_memory else None,
        "seed": config.seed,
    }
    return {
        name: _digest({**common, "name": name, "evaluation": _identity(evaluation)})
        for name, evaluation in config.evaluation.items()
    }


def _memory(memory: Memory, mode: Mode) -> dict[str, Any]:
    fields = describe(memory)
    if not mode.forgets:
        return {key: fields[key] for key in OF_ATTENDING}
    ignored = memory.policy.ignored | memory.birth.ignored
    fields["birth"] = _identity(memory.birth)
    return {key: fields[key] for key in fields if key not in ignored}


def _identity(part: Any) -> Any:
    extra = part.fingerprint() if isinstance(part, Fingerprinted) else None
    return {"fields": describe(part), "fingerprint": extra}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
