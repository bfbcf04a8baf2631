"""What runs where kvpress is imported, and nowhere else: every module here may import it.

This one is loaded before them, so that attention as it was before kvpress is still known.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

# By name; None where kvpress has been there before.
ORIGINAL: Mapping[str, Any] | None = (
    None if "kvpress" in sys.modules else dict(ALL_ATTENTION_FUNCTIONS.items())
)
