"""wandb kept within bounds: its files in the run's folder, its calls within a time limit.

wandb takes most of its folders from the environment, and does its work in a helper process.
Were that process to hang, any call might wait for it for ever; were the variables to stay, the
next run of a sweep, and every child process, would inherit them.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

import psutil

HELPER = "wandb-core"


class Confinement:
    """From here to ``release``, the environment and the helper process of one run."""

    def __init__(self, run_dir: str, mode: str) -> None:
        folder = os.path.join(os.path.abspath(run_dir), "wandb")
        os.makedirs(folder, exist_ok=True)  # wandb, failing to, would move to the system's /tmp
        variables = {
            "WANDB_MODE": mode,
            "WANDB_DATA_DIR": os.path.join(folder, "data"),  # artifacts on their way out
            "WANDB_CACHE_DIR": os.path.join(folder, "cache"),
            # WANDB_CONFIG_DIR stays the user's: a run only reads it, and it is where
            # `wandb login --host` says which server to use.
            "WANDB_ERROR_REPORTING": "false",  # to wandb's makers
            "WANDB_SERVICE": None,  # how children would find the helper process; wandb sets it
        }
        self._before = {key: os.environ.get(key) for key in variables}
        self._others = {child.pid for child in _helpers()}
        _set(variables)

    def release(self) -> None:
        """Leave the environment as it was found."""
        _set(self._before)

    @contextlib.contextmanager
    def deadline(self, seconds: float) -> Iterator[None]:
        """Kill the helper process if the body takes longer: what waits for it then fails."""
        timer = threading.Timer(seconds, self._kill)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _kill(self) -> None:
        for helper in _helpers():
            if helper.pid not in self._others:
                helper.kill()


def _helpers() -> list[psutil.Process]:
    helpers = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.name().startswith(HELPER):
                helpers.append(child)
    return helpers


def _set(variables: dict[str, str | None]) -> None:
    for key, value in variables.items():
        if value is None:
            os.environ.pop(key, None)
        else:
            os.environ[key] = value
