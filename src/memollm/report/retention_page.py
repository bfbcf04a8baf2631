"""``retention.html``: a trace to walk through, in one file that loads nothing.

The numbers travel as bytes that compress well: differences from step to step, low and high bytes
apart. The page's script (``templates/retention_trace.js``) puts them together again.
"""

from __future__ import annotations

import base64
import gzip
import json
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment
from markupsafe import Markup

from memollm.record import replace
from memollm.report.inert import clipped, visible
from memollm.report.retention_colours import CIVIDIS
from memollm.traces.file import coded
from memollm.traces.trace import Trace

FILE = "retention.html"
LONGEST = 20_000  # characters of a token or a setting


def write(trace: Trace, folder: Path) -> Path:
    """Leave the page of ``trace`` in ``folder``."""
    path = folder / FILE
    replace(path, page(trace))
    return path


def page(trace: Trace) -> str:
    """The page as HTML; no text in it is markup, whatever it says."""
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        _resource("retention.html")
    )
    return template.render(
        trace=trace,
        fades=trace.strength is not None,
        settings=[(_plain(key), _plain(it)) for key, it in trace.settings.items()],
        facts=[(_plain(key), _plain(it)) for key, it in trace.facts.items()],
        policy=_plain(trace.settings.get("policy", "this policy")),
        title=f"{_plain(trace.settings.get('mode', 'a memory'))} on "
        f"{_plain(trace.settings.get('model', 'a model'))}",
        style=Markup(_resource("retention.css")),
        script=Markup(_resource("retention_trace.js") + _resource("retention.js")),
        about=Markup(_json(_about(trace))),
        data=base64.b64encode(payload(trace)).decode(),
    )


def payload(trace: Trace) -> bytes:
    """The arrays of ``trace``, layer by layer, gzipped.

    For each layer: the strengths' codes and the last recalls, as differences from the step before
    (modulo 2**16, low bytes and then high bytes), then the attention's codes; in the end, for all
    layers, when tokens were forgotten (low bytes, high bytes).
    """
    codes, parts = coded(trace), []
    for layer in range(len(trace.layers)):
        if codes.strength is not None and codes.recalled is not None:
            parts += [_differences(codes.strength[layer]), _differences(codes.recalled[layer])]
        parts.append(codes.received[layer].tobytes())
    parts.append(_planes(trace.forgotten_at.astype(np.uint16)))
    return gzip.compress(b"".join(parts), 6, mtime=0)


def _about(trace: Trace) -> dict[str, Any]:
    codes = coded(trace)
    strong, heard = codes.strength_scale, codes.received_scale
    return {
        "tokens": [_token(it) for it in trace.tokens],
        "promptTokens": trace.prompt_tokens,
        "seen": trace.seen.tolist(),
        "stepsTaken": trace.steps_taken,
        "layers": list(trace.layers),
        "thresholds": list(trace.thresholds),
        "lifetimes": list(trace.lifetimes),
        "curve": trace.curve,
        "timeStep": trace.time_step,
        "initialStrength": trace.initial_strength,
        "sinks": trace.sinks,
        "recent": trace.recent,
        "evidence": [list(it) for it in trace.evidence],
        "stillSeen": bool(trace.still_seen),
        "exponential": trace.settings.get("retention") == "exponential",
        "fades": trace.strength is not None,
        "strengthScale": strong and [strong.low, strong.high, strong.levels],
        "receivedScale": [heard.low, heard.high, heard.levels],
        "colours": CIVIDIS,
    }


def _token(text: str) -> str:
    """A token to be shown: line ends as a sign and a line end, commands as their pictures."""
    return clipped(visible(text).replace("↵", "↵\n"), LONGEST)


def _plain(text: str) -> str:
    return clipped(visible(text), LONGEST)


def _json(value: Any) -> str:
    """JSON that can stand in a script element: nothing in it can end the element."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def _differences(values: np.ndarray) -> bytes:
    values = values.astype(np.uint16)
    return _planes(np.diff(values, axis=0, prepend=np.zeros_like(values[:1])))


def _planes(values: np.ndarray) -> bytes:
    pairs = values.astype("<u2").reshape(-1, 1).view(np.uint8)
    return pairs[:, 0].tobytes() + pairs[:, 1].tobytes()


def _resource(name: str) -> str:
    return (resources.files("memollm.report") / "templates" / name).read_text("utf-8")
