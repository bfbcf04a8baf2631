"""Which cells a command line asks for, known before the first one is run.

Hydra composes a sweep's cells one by one, and a value is checked when its part is made. So that
the ninth cell of a sweep is not refused after eight have run, all are made here once.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from memollm.config import RunConfig, live

ROOM_NEEDED = 64 * 2**20  # bytes; records and samples of a cell are far smaller


@dataclass(frozen=True)
class Request:
    """What a command line asks for."""

    cells: Sequence[RunConfig]
    folder: Path  # where Hydra will put the run or the sweep
    multirun: bool


def requested(
    conf: Path, overrides: Sequence[str], multirun: bool, config_name: str = "config"
) -> Request:
    """Compose every cell, and make its parts.

    Raises:
        ValueError: from the part that a value does not suit.
        HydraException, OmegaConfBaseException: for names and types (see ``refusals``).
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    plain = [it.input_line or "" for it in parsed if not it.is_sweep_override()]
    swept = [it for it in parsed if it.is_sweep_override()]
    with initialize_config_dir(str(conf), version_base="1.3", job_name="run"):
        first = _compose(config_name, plain if swept else list(overrides))
        multirun = multirun or first.hydra.mode == RunMode.MULTIRUN
        if swept and not multirun:
            _compose(config_name, list(overrides))  # raises: Hydra has the words for it
        params = [f"{key}={value}" for key, value in _params(first).items()]
        if not multirun:
            return Request([_live(first)], Path(first.hydra.run.dir).absolute(), multirun)
        everything = OverridesParser.create().parse_overrides([*params, *overrides])
        (combinations,) = BasicSweeper.split_arguments(everything, None)
        cells = [_live(_compose(config_name, overrides)) for overrides in combinations]
    return Request(cells, Path(first.hydra.sweep.dir).absolute(), multirun)


def require_room(folder: Path) -> None:
    """Refuse a folder that cannot be written to, or is on a full disk.

    Raises:
        OSError: naming the folder.
    """
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise OSError(f"outputs={folder} cannot be written to: {existing} is no writable folder")
    free = shutil.disk_usage(existing).free
    if free < ROOM_NEEDED:
        raise OSError(
            f"outputs={folder} is on a disk with {free / 2**20:.0f} MiB left, "
            f"{ROOM_NEEDED / 2**20:.0f} MiB are needed"
        )


def _compose(config_name: str, overrides: list[str]) -> DictConfig:
    composed = compose(config_name, overrides=overrides, return_hydra_config=True)
    HydraConfig.instance().set_config(composed)  # resolves ${hydra:...} in what a user wrote
    return composed


def _params(composed: DictConfig) -> dict[str, Any]:
    params = OmegaConf.select(composed, "hydra.sweeper.params") or {}
    return dict(params)


def _live(composed: DictConfig) -> RunConfig:
    with open_dict(composed):
        without = composed.copy()
        without.pop("hydra")
    return live(without)
