"""Where kvpress is: the real one, if it is installed, and the fake one beside these tests."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
FAKE = Path(__file__).parent / "fake"
INSIDE = "MEMOLLM_TESTS_INSIDE_KVPRESS"  # set where tests may import kvpress


def python_path(fake: bool) -> str:
    """What PYTHONPATH must be, for a process that runs tests and sources of this checkout."""
    path = [FAKE] if fake else []
    return os.pathsep.join(map(str, [*path, REPOSITORY, REPOSITORY / "src"]))


def installed() -> bool:
    return importlib.util.find_spec("kvpress") is not None
