"""Refusing settings: the key, the value, what is allowed."""

from __future__ import annotations

from collections.abc import Sequence


def refuse(key: str, name: str, value: object, why: str) -> None:
    """Refuse a setting.

    Raises:
        ValueError: always.
    """
    raise ValueError(f"{key}.{name}={value} is not allowed: {why}")


def require_distinct(key: str, name: str, values: Sequence[object]) -> None:
    """Refuse a list with nothing in it, or something twice.

    Raises:
        ValueError: if it is one.
    """
    if not values or len(set(values)) < len(values):
        refuse(key, name, values, "it must name at least one, and none twice")


def require_at_least(key: str, name: str, value: int, least: int) -> None:
    """Refuse a number that is too small.

    Raises:
        ValueError: if it is.
    """
    if value < least:
        refuse(key, name, value, f"it must be at least {least}")


def require_depths(key: str, depths: Sequence[float]) -> None:
    """Refuse depths that are no shares.

    Raises:
        ValueError: if one is not.
    """
    require_distinct(key, "depths", depths)
    if not all(0 <= depth <= 1 for depth in depths):
        refuse(key, "depths", depths, "each must lie between 0 (first) and 1 (last)")


def require_lengths(key: str, lengths: Sequence[int], whose: str, limit: int) -> None:
    """Refuse lengths that a model cannot take.

    Raises:
        ValueError: if one is too long.
    """
    if max(lengths) > limit:
        refuse(key, "lengths", lengths, f"{whose} takes at most {limit} tokens")
