"""Who is at work on what: of all processes that share a folder, one at a time has a name.

A claim is a file, made with O_EXCL, which is atomic on NFS, too. Its owner is alive while its
process is, where that can be asked, and elsewhere while the file is touched now and then; time is
counted by whoever looks, since clocks of machines differ. The claim of a dead owner is not taken
away, which two could do at once, but outnumbered: the next number can be made once only.

What is at stake is work done twice, not files: every run writes to a folder of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

HEARTBEAT = 10.0  # seconds between two touches
STALE = 90.0  # seconds without one; more than the 60 for which NFS may show an old file
POLL = 0.5  # seconds between two looks


@dataclass(frozen=True)
class Owner:
    """A process."""

    host: str  # and where on it process numbers mean the same
    pid: int
    created: float  # seconds since the epoch: numbers of processes come back

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host.split(' ')[0]}"


@contextmanager
def claimed(folder: Path, name: str, waits: Callable[[Owner | None], None]) -> Iterator[None]:
    """Have ``name`` alone, among all that claim in ``folder``.

    Args:
        folder: shared by those who may meet.
        name: what is claimed; part of a file's name.
        waits: told once who has it (None: it cannot be read), if somebody does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mine = _acquire(folder, name, waits)
    over = threading.Event()
    heart = threading.Thread(target=_beat, args=(mine, over), daemon=True)
    heart.start()
    try:
        yield
    finally:
        over.set()
        heart.join()
        mine.unlink(missing_ok=True)


def this_process() -> Owner:
    """The process that asks."""
    return Owner(_host(), os.getpid(), psutil.Process().create_time())


def _acquire(folder: Path, name: str, waits: Callable[[Owner | None], None]) -> Path:
    told = False
    pulse: tuple[Path, int] | None = None  # the claim looked at, and when it was touched
    since = time.monotonic()
    while True:
        seen = _touched(folder, name)
        numbers = sorted(seen)
        number = numbers[-1] if numbers else 0
        current = _path(folder, name, number)
        if numbers:
            owner, touched = _read(current)
            if pulse != (current, touched):
                pulse, since = (current, touched), time.monotonic()
            if touched and _alive(owner, time.monotonic() - since):
                if not told:
                    waits(owner)
                    told = True
                time.sleep(POLL)
                continue
            number += 1 if touched else 0  # 0: it was given back just now
        mine = _path(folder, name, number)
        try:
            with mine.open("x", encoding="utf-8") as file:
                json.dump(asdict(this_process()), file)
        except FileExistsError:
            continue
        now = _touched(folder, name)
        if any(seen.get(it) != now[it] for it in now if it != number):
            mine.unlink(missing_ok=True)  # somebody else began while we looked
            time.sleep(POLL * random.random())
            continue
        for outnumbered in numbers:
            if outnumbered != number:
                _path(folder, name, outnumbered).unlink(missing_ok=True)
        return mine


def _alive(owner: Owner | None, silent: float) -> bool:
    """Whether an owner is there, having been silent for that many seconds."""
    if owner is None or owner.host != _host():
        return silent < STALE
    try:
        process = psutil.Process(owner.pid)
        here = abs(process.create_time() - owner.created) < 1.0
        return here and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _read(path: Path) -> tuple[Owner | None, int]:
    """Whose claim it is, and when it was last touched; 0 if it is gone."""
    try:
        with path.open(encoding="utf-8") as file:  # to open a file makes NFS look again
            touched = os.fstat(file.fileno()).st_mtime_ns
            return Owner(**json.load(file)), touched
    except FileNotFoundError:
        return None, 0
    except (OSError, ValueError, TypeError):
        return None, 1  # half written, or its owner died while writing


def _beat(path: Path, over: threading.Event) -> None:
    while not over.wait(HEARTBEAT):
        with contextlib.suppress(OSError):  # outnumbered by someone who took us for dead
            os.utime(path)


def _touched(folder: Path, name: str) -> dict[int, int]:
    """The numbers that are claimed, and when each was last touched."""
    found: dict[int, int] = {}
    for path in folder.glob(f"{name}.*"):
        end = path.name.rpartition(".")[2]
        with contextlib.suppress(FileNotFoundError):  # given back since
            found |= {int(end): path.stat().st_mtime_ns} if end.isdigit() else {}
    return found


def _path(folder: Path, name: str, number: int) -> Path:
    return folder / f"{name}.{number}"


def _host() -> str:
    """This machine, boot and space of process numbers."""
    parts = [socket.gethostname(), str(int(psutil.boot_time()))]
    with contextlib.suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))  # containers have their own
    return " ".join(parts)
