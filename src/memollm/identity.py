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

OF_THE_MEMORY = ("threshold", "budget", "policy", "memory_strength", "layer_fraction", "retention")


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


def described(config: RunConfig) -> dict[str, Any]:
    """``config`` as plain data, with no memory in a mode without one.

    In a mode that forgets by rules of its own, what is said of the memory is left out.
    """
    plain = describe(config)
    if not config.mode.reads_memory:
        return {key: it for key, it in plain.items() if key not in OF_THE_MEMORY} | {"memory": {}}
    return plain if config.mode.has_memory else {**plain, "memory": None}


def _hashes(config: RunConfig, mode: Mode) -> dict[str, str]:
    versions = provenance.versions()
    common = {
        "source": provenance.source(),
        "versions": {name: versions.get(name) for name in ("memollm", "torch", "transformers")},
        "machine": provenance.machine(),
        "model": _identity(config.model),
        "mode": _identity(mode),
        "memory": _memory(config.memory) if mode.has_memory and mode.reads_memory else None,
        "seed": config.seed,
    }
    return {
        name: _digest({**common, "name": name, "evaluation": _identity(evaluation)})
        for name, evaluation in config.evaluation.items()
    }


def _memory(memory: Memory) -> dict[str, Any]:
    fields = describe(memory)
    return {key: fields[key] for key in fields if key not in memory.policy.ignored}


def _identity(part: Any) -> Any:
    extra = part.fingerprint() if isinstance(part, Fingerprinted) else None
    return {"fields": describe(part), "fingerprint": extra}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
