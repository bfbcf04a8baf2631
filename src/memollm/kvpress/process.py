"""The process that kvpress lives in: started when it is first needed, ended with this one.

Requests are objects with a method ``perform(models)``, which is called over there; one after
another, so that a model is loaded once for all cells that use it.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import subprocess
import sys
from dataclasses import dataclass
from multiprocessing import Pipe
from pathlib import Path
from typing import Protocol, runtime_checkable

import memollm
from memollm.kvpress.mode import KVPress
from memollm.loading import Models

CHILD = "memollm.kvpress.inside"
GRACE = 60.0  # seconds to write down how an interrupted run ended
INSTALL = 'pip install --no-deps kvpress==0.5.5 && pip install "cachetools<6" "fire<0.7"'


@runtime_checkable
class Request(Protocol):
    """Something to be done where kvpress is imported."""

    def perform(self, models: Models) -> None: ...


@dataclass(frozen=True)
class Check:
    """Whether there is such a press, with such settings."""

    mode: KVPress

    def perform(self, models: Models) -> None:
        from memollm.kvpress.inside.building import build  # imports kvpress

        build(self.mode)


@dataclass(frozen=True)
class Forget:
    """Let go of the model there, while this process needs the memory."""

    def perform(self, models: Models) -> None:
        models.forget()


class ProcessEnded(RuntimeError):
    """The process is gone, and with it what it was doing."""


class Process:
    """A process with kvpress in it; use ``running()``, which starts one for all."""

    def __init__(self) -> None:
        self._ours, theirs = Pipe()
        path = [str(Path(memollm.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        self._child = subprocess.Popen(
            [sys.executable, "-m", CHILD, str(theirs.fileno()), *sys.argv],  # records quote it
            pass_fds=[theirs.fileno()],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))},
        )
        theirs.close()

    def ask(self, request: Request) -> None:
        """Have ``request`` performed over there, and wait for that.

        Raises:
            ValueError: what it refuses.
            ProcessEnded: if it could not be finished.
        """
        try:
            self._ours.send(request)
            refusal = self._ours.recv()
        except (EOFError, ConnectionError) as error:
            raise ProcessEnded(self._how_it_ended()) from error
        except KeyboardInterrupt:  # it was interrupted, too, and has a record to finish
            self._child.wait(GRACE)
            raise
        if refusal is not None:
            raise ValueError(refusal)

    @property
    def alive(self) -> bool:
        return self._child.poll() is None

    def end(self) -> None:
        """Let it go, and wait until it is gone."""
        self._ours.close()
        self._child.wait(GRACE)

    def _how_it_ended(self) -> str:
        code = self._child.wait(GRACE)
        if code < 0:
            hint = ", for want of memory?" if code == -9 else ""
            return f"the process of kvpress was ended by signal {-code}{hint}"
        return f"the process of kvpress ended with exit code {code}"


_running: list[Process] = []


def running() -> Process:
    """The process, started anew where there is none.

    Raises:
        ValueError: if kvpress is not installed.
    """
    require_installed()
    if not _running or not _running[-1].alive:
        _running[:] = [Process()]
    return _running[-1]


def rest() -> None:
    """Have the process, if there is one, let go of its model; it keeps what it imported."""
    if _running and _running[-1].alive:
        _running[-1].ask(Forget())


@atexit.register
def end() -> None:
    """End the process, if there is one."""
    while _running:
        _running.pop().end()


def require_installed() -> None:
    """Refuse, in a moment, what would need kvpress where there is none.

    Raises:
        ValueError: saying how it is installed.
    """
    if importlib.util.find_spec("kvpress") is None:
        raise ValueError(
            f"mode=kvpress is not possible, kvpress is not installed in {sys.prefix}: {INSTALL}"
        )
