"""The run's configuration, as types; with ``run.py`` the only place that knows Hydra.

A part is a dataclass, so its class is its schema and its defaults are written once, in the code.
Composition gives plain typed data, ``live`` makes the parts of it.
"""

from __future__ import annotations

import dataclasses
import importlib
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from memollm import engines
from memollm.attention.patterns.base import Pattern
from memollm.evaluation.base import Evaluation
from memollm.hf.models import ModelSource
from memollm.memory.ebbinghaus import Memory
from memollm.memory.policy import Policy
from memollm.memory.retention import RetentionCurve
from memollm.memory.schedule import Schedule
from memollm.memory.strength.base import Strength
from memollm.modes.base import Mode
from memollm.registry import groups, import_parts, name_of
from memollm.tasks.base import Task
from memollm.tracking.base import Tracker

# A file added to these rooms is found by itself.
ROOMS = (
    "memory",
    "memory.strength",
    "modes",
    "policies",
    "evaluation",
    "tracking",
    "tasks",
    "attention.patterns",
)
# The modules of their rooms that are light enough to compose with.
MODULES = ("memollm.hf.models", "memollm.hf.scratch", "memollm.kvpress.mode")


@dataclass
class RunConfig:
    """One cell. The keys that people turn are at the top, and are handed down to the parts."""

    task: Task = MISSING
    model: ModelSource = MISSING
    mode: Mode = MISSING
    retention: RetentionCurve = MISSING
    policy: Policy = MISSING
    strength: Strength = MISSING
    schedule: Schedule = MISSING
    pattern: Pattern = MISSING
    memory: Memory = field(default_factory=Memory)
    evaluation: dict[str, Any] = field(default_factory=dict)  # each an Evaluation
    tracker: Tracker = MISSING
    threshold: Any = None  # see memory/threshold.py; null: 0.01, unless there is a budget
    budget: Any = None  # tokens to keep: share (0, 1) or count; see memory/budget.py
    memory_strength: float = Memory.strength
    layer_fraction: float = Memory.layer_fraction
    seed: int = 0
    outputs: str = "outputs"  # folder of all runs
    resume: bool = True  # take over what earlier runs of the same cell measured
    force: bool = False  # measure everything again; the same as resume=false
    limit: int | None = None  # samples of each evaluation, its first; null: all
    debug: bool = False  # short contexts and few samples, where nothing else is asked for
    dry_run: bool = False  # say what would be run, and run nothing
    trace: bool = False  # leave the trace of an example, and a page to look at it
    objective: Any = None  # <evaluation>/<metric>, or a list of such: what a search optimises

    def __post_init__(self) -> None:
        self.threshold, self.budget = self.memory.threshold, self.memory.budget  # what holds
        self.mode.check(self.memory)
        # An experiment may have settings for evaluations that were not chosen: those are no parts.
        chosen = {name: it for name, it in self.evaluation.items() if isinstance(it, Evaluation)}
        self.evaluation = {key: brief(it) for key, it in chosen.items()} if self.debug else chosen
        self._check_limit()
        self._check_trace()
        if not chosen and self.task.measures:
            raise ValueError(
                "evaluation=[] is not allowed, choose from " + ", ".join(groups()["evaluation"])
            )

    def _check_limit(self) -> None:
        if self.limit is None or not self.task.measures:
            return
        if self.limit < 1:
            raise ValueError(f"limit={self.limit} is not allowed, it must be at least 1, or null")
        for name, evaluation in self.evaluation.items():
            if evaluation.instead_of_limit:
                raise ValueError(
                    f"limit={self.limit} is not allowed with evaluation={name}: turn its "
                    f"{evaluation.instead_of_limit}, or choose evaluation=[...] without it"
                )

    def _check_trace(self) -> None:
        if not self.trace or not self.task.measures:
            return
        if self.mode.apart:
            raise ValueError(
                f"trace=true is not allowed with mode={name_of(self.mode)}, which acts in a "
                "process of its own: leave it out"
            )
        if all(it.outcome is None for it in self.evaluation.values()):
            raise ValueError(
                f"trace=true is not allowed with evaluation=[{','.join(self.evaluation)}]: it "
                "traces one of the examples that are compared between modes, as those of needle "
                "and perplexity are"
            )


def brief(evaluation: Evaluation) -> Evaluation:
    """``evaluation`` in little, but for what differs from its defaults already."""
    defaults = type(evaluation)()
    changes = {
        name: value
        for name, value in evaluation.brief.items()
        if getattr(evaluation, name) == getattr(defaults, name)
    }
    return dataclasses.replace(evaluation, **changes)


def register_schemas() -> None:
    """Give Hydra the schema of the run and of every registered part, as ``<group>/base_<name>``."""
    for room in ROOMS:
        import_parts(room)
    for name in MODULES:
        importlib.import_module(name)
    engines.prefer_ours()
    store = ConfigStore.instance()
    store.store(name="run_schema", node=RunConfig)
    for group, parts in groups().items():
        for name, part in parts.items():
            store.store(group=group, name=f"base_{name}", node=_schema(part))


def live(composed: DictConfig) -> RunConfig:
    """The parts that a composed configuration describes.

    Raises:
        ValueError: from the part that a value does not suit.
        OmegaConfBaseException: for a value of the wrong type.
    """
    config = OmegaConf.to_object(composed)
    assert isinstance(config, RunConfig)
    return config


def _schema(part: type) -> DictConfig:
    """A part's fields; a part inside it is the one that is chosen at the top, under its group."""
    schema = OmegaConf.structured(part)
    for inner in dataclasses.fields(part):
        kind = OmegaConf.get_type(schema, inner.name)
        for group, parts in groups().items():
            if kind in parts.values():
                schema[inner.name] = f"${{{group}}}"
    return schema
