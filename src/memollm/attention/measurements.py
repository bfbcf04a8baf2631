"""What layers cost on this machine, measured once and kept in a file.

A long text is not measured but extrapolated: as cost = a * tokens^p through the two lengths that
are.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import platform
from dataclasses import dataclass
from pathlib import Path

import torch

from memollm.attention.config import AttentionConfig
from memollm.attention.profiler import AttentionProfiler

LENGTHS = (1024, 2048)  # tokens; the longest that is measured, and half of it
ITERATIONS = 3


@dataclass(frozen=True)
class Cost:
    """Of one call of a layer for one row."""

    latency_ms: float
    memory_mb: float  # MiB


_known: dict[str, Cost] = {}  # of this process


def default_file() -> Path:
    """Where measurements are kept: in the user's cache folder."""
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder) / "memollm" / "attention.json"


def cost(config: AttentionConfig, seq_len: int, backward: bool) -> tuple[Cost, str]:
    """What a call costs, and how that is known ("measured", "extrapolated from ...")."""
    short, long = LENGTHS
    if seq_len <= long:
        return _measured(config, seq_len, backward), "measured"
    below, above = (_measured(config, it, backward) for it in LENGTHS)
    steps = math.log(seq_len / long) / math.log(long / short)
    found = Cost(
        above.latency_ms * (above.latency_ms / below.latency_ms) ** steps,
        above.memory_mb * (above.memory_mb / below.memory_mb) ** steps,
    )
    return found, f"extrapolated from {short} and {long} tokens"


def _measured(config: AttentionConfig, seq_len: int, backward: bool) -> Cost:
    key = _key(config, seq_len, backward)
    if key not in _known:
        _known.update(_read(default_file()))
    if key not in _known:
        profile = AttentionProfiler.profile_attention(
            batch_size=1, seq_len=seq_len, num_iterations=ITERATIONS, backward=backward,
            config=dataclasses.replace(config, max_seq_len=max(seq_len, config.max_seq_len)),
        )  # fmt: skip
        _known[key] = Cost(profile["best_latency_ms"], profile["memory_mb"])
        _write(default_file(), _known)
    return _known[key]


def _key(config: AttentionConfig, seq_len: int, backward: bool) -> str:
    fields = dataclasses.asdict(config) | {"reason": "", "max_seq_len": 0}
    machine = [platform.machine(), platform.processor(), platform.node(), torch.__version__]
    where = [*machine, torch.get_num_threads()]
    return json.dumps([where, fields, seq_len, backward], sort_keys=True)


def _read(path: Path) -> dict[str, Cost]:
    if not path.exists():
        return {}
    kept = json.loads(path.read_text(encoding="utf-8"))
    return {key: Cost(*numbers) for key, numbers in kept.items()}


def _write(path: Path, costs: dict[str, Cost]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({key: dataclasses.astuple(it) for key, it in costs.items()}, indent=0)
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
