"""How a measured quantity becomes a strength: by a power of it."""

from __future__ import annotations

import math


def require_power(power: float) -> None:
    """Refuse a power that would rank nobody, or rank backwards.

    Raises:
        ValueError: naming the key and what is allowed.
    """
    if not 0 < power < math.inf:
        raise ValueError(f"strength.power={power} is not allowed, it must be > 0")
