"""Where a result comes from: which code, which libraries, which machine, when and how called."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import memollm

PACKAGE = Path(memollm.__file__).parent
LIBRARIES = ("memollm", "torch", "transformers", "tokenizers", "datasets", "numpy", "lm-eval")
NO_INFLUENCE = ("report", "statistics", "tracking", "traces", "runs")  # rooms after the result


def provenance(seed: int, device: str | None) -> dict[str, Any]:
    """What a record says of its origin; ``device`` is None when no model was loaded."""
    commit, dirty = revision()
    return {
        "commit": commit,
        "dirty": dirty,
        "versions": versions(),
        "device": device,
        "seed": seed,
        "started": datetime.now(UTC).isoformat(),
        "command": shlex.join(sys.argv),
        "source": source(),
        **machine(),
    }


def revision() -> tuple[str | None, bool | None]:
    """Commit of the checkout that holds this package, and whether files differ from it.

    (None, None) for an installed package, even if it lies inside someone's repository.
    """
    if not _git("ls-files", "--error-unmatch", "__init__.py"):
        return None, None
    commit = _git("rev-parse", "HEAD")
    return (commit, bool(_git("status", "--porcelain"))) if commit else (None, None)


@functools.cache
def versions() -> dict[str, str]:
    """Versions of what a result may depend on."""
    found = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@functools.cache
def source() -> str:
    """Fingerprint of the package's files that may decide a result: code, bundled weights, text.

    The version alone would not do: who changes a line of a memory must not be shown results of
    the old one.
    """
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*")):
        relative = path.relative_to(PACKAGE)
        if path.is_file() and "__pycache__" not in relative.parts:
            if relative.parts[0] in NO_INFLUENCE:
                continue
            digest.update(f"{relative.as_posix()}\0{path.stat().st_size}\0".encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


@functools.cache
def machine() -> dict[str, Any]:
    """What the same code may compute other numbers on, or at another speed."""
    import torch  # heavy; only runs come here

    from memollm.native.attending import kernel

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    decoding = "torch" if kernel() is None else "compiled"  # what memory.kernel=auto comes to
    threads = torch.get_num_threads()
    return {"cpu": _cpu(), "gpus": gpus, "threads": threads, "decoding": decoding}


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _git(*arguments: str) -> str | None:
    """Output of a git command about this package's folder, None where git has nothing to say."""
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(PACKAGE), *arguments],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
