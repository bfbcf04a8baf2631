"""The bridge to NVIDIA's kvpress: its presses as a mode, our memory as a press.

Importing kvpress changes every attention function of the process, so nothing here imports it but
the modules of ``inside``: those are loaded in a process of their own (``process``), or by who
asks for ``from memollm.kvpress import EbbinghausPress``, in a process that uses kvpress anyway.

How it is installed. kvpress pins other versions than this project is tested with: 0.5.3 and later
want transformers<5.3 and pandas<3, though they run with the newer ones. Past the pins, with
what it imports beside what is here already (what the bridge was tested with):

    pip install --no-deps kvpress==0.5.5 && pip install "cachetools<6" "fire<0.7"

Within them, ``pip install -e ".[kvpress]"`` without constraints.txt finds 0.5.2, the last version
without the cap on transformers, and goes back to pandas 2.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "EbbinghausPress":  # imports kvpress
        from memollm.kvpress.inside.ebbinghaus import EbbinghausPress

        return EbbinghausPress
    raise AttributeError(f"module 'memollm.kvpress' has no attribute {name!r}")
