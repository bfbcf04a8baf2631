"""memollm: what a language model loses, and gains, when its KV cache forgets."""

from __future__ import annotations

import importlib
from typing import Any

_LAZY = {"EbbinghausLLM": "memollm.hf.llm"}  # heavy: imported when first asked for


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'memollm' has no attribute {name!r}")
