"""A model by the name that a user gives: one of conf/model, a hub id, or a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from memollm.hf.models import HubModel, Loaded, ModelSource
from memollm.registry import groups

CONF = Path(__file__).parents[2] / "conf" / "model"


def source(name: str) -> ModelSource:
    """Where ``name`` is loaded from.

    Raises:
        ValueError: if it is nothing that could be loaded.
    """
    preset = CONF / f"{name}.yaml"
    if preset.is_file():
        settings: dict[str, Any] = dict(OmegaConf.to_container(OmegaConf.load(preset)))  # pyright: ignore
        base = settings.pop("defaults")[0].removeprefix("base_")
        found = groups()["model"][base](**settings)
    else:
        found = HubModel(name=name)
    found.prepare()
    return found


def loaded(name: str) -> Loaded:
    """The model itself."""
    return source(name).load()
