"""Which mechanism each layer of a scratch model has, and which can be one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from memollm.attention.mechanisms.base import Mechanism
from memollm.attention.mechanisms.scope import Scope
from memollm.registry import groups, import_parts, refusal

FULL = "full"  # goes through Transformers' attention interface, so that a memory can be attached


def cycled(attention: Sequence[str], layers: int) -> list[str]:
    """A mechanism's name for each layer: as they are given, over and over.

    Raises:
        ValueError: if there are more names than layers, or none.

    >>> cycled(["local", "full"], 5)
    ['local', 'full', 'local', 'full', 'local']
    """
    if not 0 < len(attention) <= layers:
        raise ValueError(
            f"model.attention={list(attention)} is not allowed with model.layers={layers}: give "
            "one name for each layer, or fewer that are repeated"
        )
    return [attention[layer % len(attention)] for layer in range(layers)]


def build(name: str, settings: Mapping[str, Any]) -> Mechanism:
    """The mechanism of that name, which can read a text from left to right and token by token.

    Raises:
        ValueError: if there is none, if it cannot, or for a setting that it does not have.
    """
    import_parts("attention.mechanisms")
    known = groups()["mechanism"]
    if name not in known:
        raise refusal("model.attention", name, known)
    part = known[name]
    fields = [field.name for field in dataclasses.fields(part)]
    for key in settings:
        if key not in fields:
            raise refusal(f"model.mechanisms.{name}", key, fields)
    try:
        mechanism = part(**settings)
        mechanism.require(Scope(), cached=True)
    except ValueError as error:
        raise ValueError(f"model.attention={name} is not allowed: {error}") from error
    return mechanism


def require(
    attention: Sequence[str],
    settings: Mapping[str, Mapping[str, Any]],
    heads: int,
    kv_heads: int | None,
) -> None:
    """Refuse names, settings and numbers of heads that make no model.

    Raises:
        ValueError: naming them.
    """
    for name in attention:
        build(name, settings.get(name, {})).key_value_heads(heads, kv_heads)
    for name in settings:
        if name not in attention:
            raise refusal("model.mechanisms", name, attention)
