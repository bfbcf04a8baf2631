"""Building and loading the C sources: once for each machine and compiler, or not at all."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

SOURCES = sorted(Path(__file__).parent.glob("*.[ch]"))
FLAGS = ("-O3", "-shared", "-fPIC", "-pthread")
TUNINGS = ("-march=native", "-mcpu=native")  # the first that the compiler understands
SECONDS = 120  # that a compiler may take


class NoKernelError(RuntimeError):
    """There is no compiled kernel here; says why."""


def compiler() -> str | None:
    """The C compiler: ``$CC``, or what goes by the usual names; None: there is none."""
    named = [os.environ["CC"]] if os.environ.get("CC") else []
    return next((path for it in (*named, "cc", "gcc", "clang") if (path := shutil.which(it))), None)


@functools.cache
def load() -> ctypes.CDLL:
    """The library of all sources, built first where it is not there yet.

    Raises:
        NoKernelError: if it cannot be built or loaded.
    """
    chosen = compiler()
    if chosen is None:
        raise NoKernelError("no C compiler was found (cc, gcc, clang, or $CC)")
    file = _folder() / f"kernels-{_key(chosen)}.so"
    try:
        if not file.exists():
            _build(chosen, file)
        return ctypes.CDLL(str(file))
    except (OSError, subprocess.SubprocessError) as error:
        raise NoKernelError(f"{chosen} did not make a library of it: {error}") from error


def _build(chosen: str, file: Path) -> None:
    """Compile next to ``file`` and move there, so that nobody sees half a library."""
    sources = [str(it) for it in SOURCES if it.suffix == ".c"]
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        made = Path(folder) / file.name
        for tuning in TUNINGS:
            command = [chosen, *FLAGS, tuning, *sources, "-o", str(made)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
            if done.returncode == 0:
                made.replace(file)
                return
    raise OSError(done.stderr.strip() or f"exit code {done.returncode}")


def _folder() -> Path:
    """Where libraries are kept: the user's cache, or a folder for this process where it is shut."""
    kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "memollm"
    try:
        kept.mkdir(parents=True, exist_ok=True)
        if os.access(kept, os.W_OK):
            return kept
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="memollm-"))


def _key(chosen: str) -> str:
    """What decides the library: source, compiler, and the processor it is tuned to."""
    path = Path(chosen).resolve()
    made = f"{path} {path.stat().st_mtime_ns} {FLAGS}"
    parts = (*(it.read_bytes() for it in SOURCES), made.encode(), _processor().encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    told = ("flags", "Features", "model name")
    return " ".join(sorted({it for it in lines if it.startswith(told)}))
