"""Names for interchangeable parts: the one place where a config name becomes a class.

A part is a dataclass: its fields are its configuration, its methods are its behaviour.
``config.py`` hands every registered part to Hydra as the schema ``<group>/base_<name>``.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any, TypeVar

Part = TypeVar("Part", bound=type)

_groups: dict[str, dict[str, type]] = {}


def register(group: str, name: str) -> Callable[[Part], Part]:
    """Class decorator: make the part selectable as ``group=name``.

    Raises:
        ValueError: if the group already has another part of that name.
    """

    def add(part: Part) -> Part:
        parts = _groups.setdefault(group, {})
        if name in parts:
            raise ValueError(f"{group}={name} is already {parts[name].__qualname__}")
        parts[name] = part
        return part

    return add


def import_parts(room: str) -> None:
    """Import every module of ``memollm.<room>``, so that its decorators have run."""
    package = importlib.import_module(f"memollm.{room}")
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)


def groups() -> Mapping[str, Mapping[str, type]]:
    """Every registered part, by group and name."""
    return MappingProxyType({group: MappingProxyType(parts) for group, parts in _groups.items()})


def name_of(part: object) -> str:
    """The name under which the class of ``part`` is registered.

    Raises:
        KeyError: if it is not a part.
    """
    for parts in _groups.values():
        for name, cls in parts.items():
            if cls is type(part):
                return name
    raise KeyError(f"{type(part).__qualname__} is not a registered part")


def describe(value: Any) -> Any:
    """Plain data (dict, list, str, number) that says all of a part: its name and its fields."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: describe(getattr(value, f.name)) for f in dataclasses.fields(value)}
        registered = any(type(value) in parts.values() for parts in _groups.values())
        return {"name_": name_of(value), **fields} if registered else fields
    if isinstance(value, Mapping):
        return {str(key): describe(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [describe(item) for item in value]
    return value.value if isinstance(value, Enum) else value


def refusal(key: str, value: object, allowed: Iterable[str]) -> ValueError:
    """The error for a name that is none of ``allowed``: all of them, and the nearest one."""
    names = sorted(allowed)
    near = difflib.get_close_matches(str(value), names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return ValueError(f"{key}={value!r} is not allowed, choose from {', '.join(names)}{hint}")
