"""Attention: mechanisms for models to be trained, and what a memory needs of it.

``AttentionFactory.create_attention(AttentionConfig(...))`` makes a layer of any mechanism,
``AttentionProfiler`` measures it, ``AttentionSelector`` chooses one for this machine.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memollm.attention.block import TransformerBlock as TransformerBlock
    from memollm.attention.config import AttentionConfig as AttentionConfig
    from memollm.attention.factory import AttentionFactory as AttentionFactory
    from memollm.attention.profiler import AttentionProfiler as AttentionProfiler
    from memollm.attention.selector import AttentionSelector as AttentionSelector

_LAZY = {  # imported when first asked for, since a memory needs none of it
    "AttentionConfig": "memollm.attention.config",
    "AttentionFactory": "memollm.attention.factory",
    "AttentionProfiler": "memollm.attention.profiler",
    "AttentionSelector": "memollm.attention.selector",
    "TransformerBlock": "memollm.attention.block",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'memollm.attention' has no attribute {name!r}")
