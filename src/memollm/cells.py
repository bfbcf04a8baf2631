"""Which cells a command line asks for, known before the first one is run.

Hydra composes a sweep's cells one by one, and a value is checked when its part is made. So that
the ninth cell of a sweep is not refused after eight have run, all are made here once.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from memollm.config import RunConfig, live
from memollm.engines import Engine, chosen
from memollm.refusals import require_known

BY_NUMBER = "${hydra.job.num}"  # conf/config.yaml's name for a cell's folder
ROOM_NEEDED = 64 * 2**20  # bytes; records and samples of a cell are far smaller


@dataclass(frozen=True)
class Request:
    """What a command line asks for."""

    cells: Sequence[RunConfig]
    folder: Path  # where Hydra will put the run or the sweep
    multirun: bool
    overrides: Sequence[Sequence[str]] = ()  # of each cell
    listed: bool = True  # whether these are the cells; False: a sweeper chooses as it goes
    numbered: bool = True  # whether they are, and lie in folders by their numbers
    engine: Engine = Engine()  # what runs them

    @property
    def shared(self) -> frozenset[str]:
        """Settings that all of several cells have."""
        several = len(self.overrides) > 1
        return frozenset.intersection(*map(frozenset, self.overrides)) if several else frozenset()

    @property
    def folder_key(self) -> str:
        return "hydra.sweep.dir" if self.multirun else "hydra.run.dir"

    @property
    def override(self) -> str:
        """What has Hydra use ``folder``, wherever its jobs will run."""
        quoted = str(self.folder).replace("\\", "\\\\").replace("'", "\\'")
        return f"{self.folder_key}='{quoted}'"


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
        first = _compose(config_name, plain)
        multirun = multirun or first.hydra.mode == RunMode.MULTIRUN
        if not multirun:
            cells = [_live(_compose(config_name, list(overrides)) if swept else first)]
            return Request(cells, Path(first.hydra.run.dir).absolute(), False, [list(overrides)])
        listed = first.hydra.sweeper._target_.endswith("BasicSweeper")  # others choose as they go
        combinations = _combinations(first, overrides) if listed else [plain]
        cells = [_live(_compose(config_name, combination)) for combination in combinations]
    subfolder = OmegaConf.to_container(first.hydra.sweep, resolve=False)
    assert isinstance(subfolder, dict)
    numbered = listed and subfolder["subdir"] == BY_NUMBER
    folder, engine = Path(first.hydra.sweep.dir).absolute(), chosen(first.hydra)
    return Request(cells, folder, True, combinations, listed, numbered, engine)


def claim(request: Request, overrides: Sequence[str]) -> Request:
    """Make the folder of the run.

    Two runs that start in the same second get two folders, unless a folder was asked for.
    """
    folder, tries = request.folder, itertools.count(2)
    asked_for = any(it.startswith(f"{request.folder_key}=") for it in overrides)
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=asked_for)
            return dataclasses.replace(request, folder=folder)
        except FileExistsError:
            if asked_for:
                raise
            folder = request.folder.with_name(f"{request.folder.name}-{next(tries)}")


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


def _combinations(composed: DictConfig, overrides: Sequence[str]) -> list[list[str]]:
    """The cells of a sweep as Hydra will enumerate them."""
    params = OmegaConf.select(composed, "hydra.sweeper.params") or {}
    given = [*(f"{key}={value}" for key, value in params.items()), *overrides]
    (combinations,) = BasicSweeper.split_arguments(
        OverridesParser.create().parse_overrides(given), None
    )
    return combinations


def _live(composed: DictConfig) -> RunConfig:
    with open_dict(composed):
        without = composed.copy()
        without.pop("hydra")
    require_known(without)
    return live(without)
