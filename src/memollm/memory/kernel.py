"""What computes a decoded token's attention."""

from __future__ import annotations

from enum import StrEnum


class Kernel(StrEnum):
    """Their results differ by rounding alone."""

    auto = "auto"  # compiled where it can be, PyTorch elsewhere
    torch = "torch"
    compiled = "compiled"  # refused where there is no C compiler
