"""Imports go one way: each room may use only the rooms and libraries listed for it."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "memollm"
HEAVY = {
    "torch",
    "transformers",
    "hydra",
    "omegaconf",
    "wandb",
    "lm_eval",
    "datasets",
    "pandas",
    "matplotlib",
    "kvpress",
    "wandb_workspaces",
}
PARTS = {"registry", "memory", "modes", "policies", "evaluation", "tracking"}
MAY_IMPORT = {  # room: (rooms of ours, heavy libraries); anything light is free
    "registry": (set(), set()),
    "memory": (
        {"registry", "attention", "native", "reference"},
        {"torch"},
    ),  # of attention: patterns, as a setting
    "native": (set(), {"torch"}),
    "attention": ({"registry", "native", "nsa"}, {"torch"}),
    "nsa": ({"registry"}, {"torch", "matplotlib"}),  # matplotlib: in picture.py alone
    "cache": ({"memory", "attention"}, {"torch"}),
    "modes": ({"registry", "memory"}, {"torch"}),
    "policies": ({"registry", "memory"}, {"torch"}),
    "hf": (
        {
            "registry",
            "memory",
            "attention",
            "cache",
            "modes",
            "native",
            "policies",
            "reference",
            "evaluation",
            "scratch",
            "traces",
        },
        {"torch", "transformers"},
    ),
    "evaluation": ({"registry", "reference"}, {"torch", "datasets"}),
    "reference": (set(), {"torch", "transformers", "omegaconf", "datasets"}),  # trains by itself
    "scratch": ({"registry", "attention", "reference"}, {"torch", "transformers"}),
    "tasks": ({"registry", "record", "gating", "scratch", "reference", "generation"}, {"torch"}),
    "generation": ({"hf", "memory", "modes", "record", "provenance", "report"}, set()),
    "gating": ({"memory", "hf", "reference"}, {"torch", "transformers"}),
    "kvpress": (
        {"registry", "memory", "modes", "evaluation", "hf", "loading"},
        {"torch", "transformers"},
    ),
    "tracking": ({"registry"}, set()),
    "record": (set(), set()),
    "traces": (set(), set()),
    "samples": ({"record"}, set()),
    "statistics": (set(), set()),
    "planning": ({"record", "samples", "statistics"}, set()),
    "runs": ({"record", "report", "statistics"}, set()),
    "report": ({"record", "samples", "statistics", "traces"}, {"pandas", "matplotlib"}),
    "config": (PARTS | {"hf", "engines", "tasks", "attention"}, {"hydra", "omegaconf"}),
    "refusals": ({"registry"}, {"hydra", "omegaconf"}),
    "engines": (set(), {"hydra", "omegaconf"}),
    "cells": ({"config", "engines", "refusals"}, {"hydra", "omegaconf"}),
    "claims": (set(), set()),
    "devices": (set(), {"torch"}),
    "sweep": ({"config", "identity", "record", "resume"}, set()),
    "cell": (
        {"claims", "config", "devices", "errand", "identity", "kvpress", "loading", "progress"}
        | {"record", "registry", "report", "runner", "tracing", "tracking"},
        set(),
    ),
    "job": (
        {"cell", "config", "devices", "kvpress", "loading", "mirror", "record", "sweep"},
        {"hydra", "omegaconf", "torch"},
    ),
    "provenance": ({"native"}, {"torch"}),
    "identity": ({"registry", "memory", "modes", "config", "provenance"}, set()),
    "resume": ({"record", "samples"}, set()),
    "journal": ({"record", "samples"}, set()),
    "mirror": ({"record", "samples", "tracking"}, set()),
    "progress": ({"record"}, set()),
    "errand": (
        {"config", "identity", "journal", "mirror", "progress", "provenance", "record", "tracking"},
        set(),
    ),
    "report_run": ({"record", "report", "tracking"}, set()),
    "tracing": (
        {"config", "evaluation", "hf", "identity", "loading", "registry", "report", "samples"}
        | {"traces"},
        set(),
    ),
    "replay": ({"config", "refusals"}, {"hydra"}),
    "trace": ({"config", "loading", "record", "replay", "report", "tracing", "traces"}, set()),
    "loading": (PARTS | {"hf"}, set()),
    "runner": (
        {"config", "evaluation", "tracking", "identity", "resume", "record", "provenance"}
        | {"journal", "mirror", "progress", "loading", "registry", "planning", "statistics"},
        {"torch"},
    ),
}
MAY_IMPORT["command"] = (set(MAY_IMPORT), {"hydra", "omegaconf"})  # where all comes together
MAY_IMPORT["lm_eval_command"] = MAY_IMPORT["command"]
ONE_PLACE_ONLY = {  # a library that one file or folder may import, as the only one of all
    "wandb": "tracking/weights_and_biases.py",
    "wandb_workspaces": "tracking/wandb_report.py",
    "lm_eval": "evaluation/harness/",
    "kvpress": "kvpress/inside/",
}
ON_DEMAND = {"__init__": {"hf"}}  # the package's front door, opened when a name is asked for
MODULES = sorted(SOURCE.rglob("*.py"))


def imported(source: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide which room is meant"
            if node.module == "memollm":
                yield from (f"memollm.{alias.name}" for alias in node.names)
            else:
                yield node.module or ""


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_module_imports_only_what_its_room_may(path: Path):
    inside = path.relative_to(SOURCE)
    room = inside.with_suffix("").parts[0]
    rooms, libraries = MAY_IMPORT.get(room, (ON_DEMAND.get(room, set()), set()))
    for module in imported(path):
        top, *rest = module.split(".")
        if top == "memollm":
            assert not rest or rest[0] in rooms | {room}, f"{room} may not import {module}"
        elif top in ONE_PLACE_ONLY:
            place = ONE_PLACE_ONLY[top]
            assert inside.as_posix().startswith(place), f"{inside} may not import {module}"
        else:
            assert top not in HEAVY - libraries, f"{room} may not import {module}"


def test_every_room_is_listed():
    rooms = {path.relative_to(SOURCE).with_suffix("").parts[0] for path in MODULES}
    assert rooms - {"__init__"} <= MAY_IMPORT.keys()


@pytest.mark.parametrize(
    ("module", "never"),
    [
        ("memollm.report.__main__", {"torch", "transformers", "hydra", "wandb"}),
        ("memollm.runs.__main__", {"torch", "transformers", "hydra", "wandb"}),
        ("memollm.report.retention_page", {"torch", "transformers", "hydra", "matplotlib"}),
        ("memollm.runner", {"transformers", "datasets", "wandb", "lm_eval"}),
        ("memollm.nsa", {"transformers", "matplotlib", "fla"}),
        ("memollm.reference", {"torch", "transformers"}),
    ],
)
def test_what_a_module_brings_along(module: str, never: set[str]):
    code = f"import sys, {module}; print(*{never!r} & sys.modules.keys())"
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={"PYTHONPATH": str(SOURCE.parent)}
    )
    assert done.stdout.strip() == ""
