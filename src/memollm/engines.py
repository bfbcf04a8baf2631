"""What runs a sweep's cells: this process, processes beside it, Slurm, Ray.

Hydra's launchers do the work; here is what they need to be told, and what has to be known of
them beforehand.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from omegaconf import DictConfig, OmegaConf

EXTRAS = {  # a package of Hydra's plugins: the extra of memollm that brings it
    "hydra_joblib_launcher": "joblib",
    "hydra_submitit_launcher": "slurm",
    "hydra_ray_launcher": "ray",
    "hydra_optuna_sweeper": "optuna",
}

OURS = {  # configurations of the plugins' that conf/hydra has better ones for
    "launcher": ("joblib", "submitit_local", "submitit_slurm", "ray"),
    "sweeper": ("optuna",),
}


@dataclass(frozen=True)
class Engine:
    """A launcher and a sweeper of Hydra's, as they are configured."""

    launcher: str = "basic"
    sweeper: str = "basic"
    targets: Sequence[str] = ()  # their classes
    cores: int | None = None  # of each worker; None: what there are
    at_once: bool = False  # whether it starts all cells together on this machine

    @property
    def here(self) -> bool:
        """Whether cells run in the process that was called."""
        return self.launcher == "basic"

    @property
    def threads(self) -> int | None:
        """Of torch in each worker, and in identities; None: as torch would have it."""
        return None if "OMP_NUM_THREADS" in os.environ else self.cores

    def settings(self, overrides: Sequence[str]) -> list[str]:
        """Settings of Hydra's beside those that were typed.

        A launcher that starts everything together is given as many cells at a time as there are
        cores, unless hydra.sweeper.max_batch_size says otherwise.
        """
        key = "hydra.sweeper.max_batch_size"
        typed = any(it.lstrip("+").startswith(f"{key}=") for it in overrides)
        return [] if typed or not self.at_once else [f"{key}={cores()}"]


def chosen(hydra: DictConfig) -> Engine:
    """The engine that a composed configuration of Hydra's names."""
    choices = hydra.runtime.choices
    launcher = OmegaConf.to_container(hydra.launcher)
    assert isinstance(launcher, dict)
    return Engine(
        launcher=str(choices["hydra/launcher"]),
        sweeper=str(choices["hydra/sweeper"]),
        targets=(str(hydra.launcher._target_), str(hydra.sweeper._target_)),
        cores=_cores_of_a_worker(launcher),
        at_once=str(hydra.launcher._target_).endswith(".LocalLauncher")
        and str(hydra.sweeper._target_).endswith("BasicSweeper"),
    )


def prefer_ours() -> None:
    """Have Hydra read conf/hydra alone, where a plugin has a configuration of the same name.

    Hydra would take the plugin's for the schema of ours, and warn of that at every cell.
    """
    Plugins.instance()  # imports the plugins, which store what they have
    stored = ConfigStore.instance().repo["hydra"]
    for group, names in OURS.items():
        for name in names:
            stored.get(group, {}).pop(f"{name}.yaml", None)


def require(engine: Engine, objective: object) -> None:
    """Refuse an engine that is not installed, or a search that is not told what to look for.

    Raises:
        ValueError: saying what to install or to set.
    """
    for group, choice, target in zip(
        ("launcher", "sweeper"), (engine.launcher, engine.sweeper), engine.targets, strict=False
    ):
        package, _, rest = target.removeprefix("hydra_plugins.").partition(".")
        ours = target.startswith("hydra_plugins.") and rest
        if ours and not _installed(f"hydra_plugins.{package}"):
            extra = EXTRAS.get(package, "...")
            raise ValueError(
                f"hydra/{group}={choice} is not possible, its plugin is not installed: "
                f"pip install 'memollm[{extra}]'"
            )
    if engine.sweeper == "optuna" and not objective:
        raise ValueError(
            "hydra/sweeper=optuna is not possible without an objective: which metric, as in "
            "objective=perplexity/perplexity, or several, [needle/accuracy,memory/kv_bytes]"
        )


def cores() -> int:
    """Processor cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1


def _cores_of_a_worker(launcher: dict) -> int | None:
    if launcher.get("n_jobs"):  # joblib; -1: one for each core, -2: one fewer, ...
        jobs = int(launcher["n_jobs"])
        return max(1, cores() // (jobs if jobs > 0 else max(1, cores() + 1 + jobs)))
    if launcher.get("cpus_per_task"):  # submitit
        return int(launcher["cpus_per_task"])
    if "ray" in launcher:
        return int(launcher["ray"].get("remote", {}).get("num_cpus") or 1)
    return None


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
