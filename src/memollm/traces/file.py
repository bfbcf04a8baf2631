"""``trace.npz``: a trace on disk, in few bytes, and never more than a bound.

Strengths are codes of 16 bits and attention of 8, both on a logarithmic scale (``codes``). A trace
that is too large for its bound loses steps, never tokens: neighbours are merged until it fits.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt

from memollm.traces.codes import Scale
from memollm.traces.trace import Trace, merged

FILE = "trace.npz"
MAX_BYTES = 6_000_000  # of the file; its page is smaller than 1.5 times that
FAINTEST = 1e-6  # attention below it is none
ARRAYS = ("seen", "received", "forgotten_at", "strength", "recalled")


class UnreadableTrace(ValueError):
    """A file that is no trace: broken, cut off or somebody else's."""


@dataclass(frozen=True)
class Codes:
    """The large arrays of a trace as codes."""

    received: UInt[np.ndarray, "layers steps tokens"]
    received_scale: Scale
    strength: UInt[np.ndarray, "layers steps tokens"] | None
    strength_scale: Scale | None
    recalled: UInt[np.ndarray, "layers steps tokens"] | None


def coded(trace: Trace) -> Codes:
    """The arrays of ``trace`` in few bits."""
    heard = Scale.over(trace.received, 255, FAINTEST)
    if trace.strength is None or trace.recalled is None:
        return Codes(heard.encode(trace.received), heard, None, None, None)
    strong = Scale.over(trace.strength, 65_535)
    return Codes(
        heard.encode(trace.received), heard, strong.encode(trace.strength), strong,
        trace.recalled.astype(np.uint16),
    )  # fmt: skip


def fitted(trace: Trace, max_bytes: int = MAX_BYTES) -> Trace:
    """``trace`` with as many steps as its file has room for.

    Raises:
        ValueError: if not even one step fits.
    """
    while len(packed(trace)) > max_bytes:
        if len(trace.seen) == 1:
            raise ValueError(
                f"a trace of {len(trace.tokens)} tokens in {len(trace.layers)} layers does not "
                f"fit into {max_bytes} bytes: allow more, or trace a shorter text"
            )
        trace = merged(trace)
    return trace


def save(trace: Trace, folder: Path) -> Path:
    """Write ``folder/trace.npz``, all of it or nothing."""
    path = folder / FILE
    draft = path.with_name(f".{FILE}.{os.getpid()}")
    try:
        draft.write_bytes(packed(trace))
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    return path


def load(path: Path) -> Trace:
    """Read a trace.

    Raises:
        UnreadableTrace: if it is none.
    """
    try:
        with np.load(path, allow_pickle=False) as held:
            about = json.loads(str(held["about"]))
            scales = {name: Scale(**it) for name, it in about.pop("scales").items()}
            arrays = {name: held[name] for name in held.files if name != "about"}
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile, EOFError) as error:
        raise UnreadableTrace(f"{path} is not a trace: {error}") from error
    for name, scale in scales.items():
        arrays[name] = scale.decode(arrays[name]).astype(np.float32)
    for name in ("seen", "forgotten_at", "recalled"):
        if name in arrays:
            arrays[name] = arrays[name].astype(np.int32)
    about["evidence"] = [tuple(span) for span in about["evidence"]]
    return Trace(**about, **arrays)


def packed(trace: Trace) -> bytes:
    """The content of the file."""
    codes = coded(trace)
    about: dict[str, Any] = {
        it.name: getattr(trace, it.name)
        for it in dataclasses.fields(trace)
        if it.name not in ARRAYS
    }
    scales = {"received": codes.received_scale}
    arrays: dict[str, np.ndarray] = {
        "seen": trace.seen.astype(np.int32),
        "forgotten_at": trace.forgotten_at.astype(np.uint16),
        "received": codes.received,
    }
    if codes.strength is not None and codes.strength_scale and codes.recalled is not None:
        scales["strength"] = codes.strength_scale
        arrays |= {"strength": codes.strength, "recalled": codes.recalled}
    about["scales"] = {name: dataclasses.asdict(it) for name, it in scales.items()}
    arrays["about"] = np.array(json.dumps(about))
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **arrays)
    return file.getvalue()
