"""Engines: every yaml composes, what is missing is named, and workers know their threads."""

import importlib.util
import os
import warnings
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from memollm import cells, engines
from memollm.config import register_schemas
from memollm.engines import Engine

CONF = Path(__file__).parents[1] / "conf"
LAUNCHERS = sorted(path.stem for path in (CONF / "hydra" / "launcher").glob("*.yaml"))

register_schemas()


def engine(*overrides):
    return cells.requested(CONF, list(overrides), multirun=True).engine


@pytest.fixture(autouse=True)
def free_threads(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(engines, "cores", lambda: 8)


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_every_launcher_composes_without_a_warning(launcher):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = engine(f"hydra/launcher={launcher}")
    assert found.launcher == launcher and not found.here
    assert found.targets[0].startswith("hydra_plugins.")


@pytest.mark.parametrize(
    ("launcher", "plugin"),
    [
        ("joblib", "hydra_joblib_launcher"),
        ("submitit_local", "hydra_submitit_launcher"),
        ("submitit_slurm", "hydra_submitit_launcher"),
        ("ray", "hydra_ray_launcher"),
        ("ray_cluster", "hydra_ray_launcher"),
    ],
)
def test_its_settings_are_some_that_the_plugin_has(launcher, plugin):
    module = "_config" if "ray" in plugin else "config"
    config = pytest.importorskip(f"hydra_plugins.{plugin}.{module}")
    schema = {
        "joblib": "JobLibLauncherConf",
        "submitit_local": "LocalQueueConf",
        "submitit_slurm": "SlurmQueueConf",
    }.get(launcher, "RayLauncherConf")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        overrides = [f"hydra/launcher={launcher}", "hydra.sweep.dir=x"]
        composed = compose("config", overrides=overrides, return_hydra_config=True)
    assert composed.hydra.launcher.keys() <= getattr(config, schema).__dataclass_fields__.keys()


def test_without_one_cells_run_here():
    assert engine() == Engine(
        targets=(
            "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
            "hydra._internal.core_plugins.basic_sweeper.BasicSweeper",
        )
    )
    assert engine().here and engine().threads is None


@pytest.mark.parametrize(
    ("settings", "threads"),
    [
        ("hydra/launcher=joblib", 1),
        ("hydra/launcher=joblib hydra.launcher.n_jobs=2", 4),
        ("hydra/launcher=joblib hydra.launcher.n_jobs=-2", 1),
        ("hydra/launcher=submitit_local hydra.launcher.cpus_per_task=3", 3),
        ("hydra/launcher=submitit_slurm", 4),
        ("hydra/launcher=ray hydra.launcher.ray.remote.num_cpus=2", 2),
    ],
)
def test_a_worker_has_its_share_of_threads(settings, threads):
    assert engine(*settings.split()).threads == threads


def test_threads_that_were_set_are_left_as_they_are(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert engine("hydra/launcher=joblib").threads is None


def test_processes_that_start_together_are_as_many_as_there_are_cores():
    key = "hydra.sweeper.max_batch_size"
    local = engine("hydra/launcher=submitit_local")
    assert local.settings([]) == [f"{key}=8"] and local.settings([f"{key}=3"]) == []
    assert engine("hydra/launcher=joblib").settings([]) == []


def test_an_address_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        overrides = ["hydra/launcher=ray_cluster"]
        composed = compose("config", overrides=overrides, return_hydra_config=True)
    init = composed.hydra.launcher.ray.init
    assert init.address == os.environ["RAY_ADDRESS"] and init.object_store_memory is None


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_plugin_that_is_missing_is_named_with_its_extra(launcher, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    extra = {"joblib": "joblib", "ray": "ray", "ray_cluster": "ray"}.get(launcher, "slurm")
    with pytest.raises(ValueError, match=rf"launcher={launcher} .* 'memollm\[{extra}\]'"):
        engines.require(engine(f"hydra/launcher={launcher}"), None)


def test_the_extras_are_in_the_package():
    text = (CONF.parent / "pyproject.toml").read_text()
    assert all(f"\n{extra} = [" in text for extra in engines.EXTRAS.values())


def test_a_search_needs_an_objective():
    with pytest.raises(ValueError, match="objective=perplexity/perplexity"):
        engines.require(Engine(sweeper="optuna"), None)
    engines.require(Engine(sweeper="optuna"), "needle/accuracy")
