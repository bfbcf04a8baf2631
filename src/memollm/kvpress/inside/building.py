"""From what was typed to a press: its class, its settings, its ratio, and nothing left over."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from typing import Any

from memollm.kvpress.inside.catalogue import DECODING, WHILE_DECODING, find
from memollm.kvpress.mode import KVPress

RATIO = "compression_ratio"
SIMPLE = (bool, int, float, str)
Parameters = Mapping[str, inspect.Parameter]


def build(mode: KVPress) -> Any:
    """A new press, as ``mode`` describes it.

    Raises:
        ValueError: naming the key, the value and what is allowed.
    """
    return _build(mode.press, mode.settings, mode.compression_ratio, "mode")


def _build(name: str, settings: Mapping[str, Any], ratio: float | None, key: str) -> Any:
    cls = find(name, f"{key}.press")
    parameters = dict(inspect.signature(cls).parameters)
    own_ratio = parameters.pop(RATIO, None) is not None
    _require_known(cls, settings, parameters, key)
    values = {
        setting: _value(cls, parameters[setting], value, ratio, f"{key}.settings.{setting}")
        for setting, value in settings.items()
    }
    if own_ratio and ratio is not None:
        values[RATIO] = ratio
    try:
        press = cls(**values)
    except (AssertionError, TypeError) as error:
        raise ValueError(f"{key}.press={name!r} refuses its settings: {error}") from error
    adjustable = own_ratio or _hands_down(press, ratio)
    if adjustable and ratio is None:
        raise ValueError(
            f"{key}.{RATIO} is not set: {cls.__name__} needs the share of tokens to drop, in [0, 1)"
        )
    if ratio is not None and not adjustable:
        raise ValueError(
            f"{key}.{RATIO}={ratio} is not allowed, {cls.__name__} has none to set: how much it "
            f"drops is a matter of its settings ({_listed(parameters)})"
        )
    return press


def _require_known(
    cls: type, settings: Mapping[str, Any], parameters: Parameters, key: str
) -> None:
    for setting in settings:
        if setting == RATIO:
            raise ValueError(f"{key}.settings.{RATIO} is not a key, set {key}.{RATIO}")
        if setting not in parameters or setting.startswith("_"):
            near = difflib.get_close_matches(setting, parameters, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"{key}.settings.{setting} is not a key: {cls.__name__} takes "
                f"{_listed(parameters)}{hint}"
            )
    if settings.get(later := WHILE_DECODING.get(cls.__name__, "")):
        raise ValueError(f"{key}.settings.{later}=true is not allowed: {DECODING}")
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in settings:
            example = "; a press goes by its name" if "Press" in str(parameter.annotation) else ""
            raise ValueError(f"{key}.settings.{name} is not set: {cls.__name__} needs it{example}")


def _value(
    cls: type, parameter: inspect.Parameter, value: Any, ratio: float | None, key: str
) -> Any:
    if "Press" in str(parameter.annotation):
        if isinstance(value, list):  # one after another, each with a ratio of its own
            return [_inner(it, None, f"{key}[{index}]") for index, it in enumerate(value)]
        return _inner(value, ratio or 0.0, key)  # the outer one sets it, or pays no heed to it
    wanted, annotation = type(parameter.default), str(parameter.annotation)
    if value is None and ("None" in annotation or "Optional" in annotation):
        return value
    if wanted not in SIMPLE or type(value) is wanted or (wanted, type(value)) == (float, int):
        return value
    raise ValueError(
        f"{key}={value!r} is not allowed, {cls.__name__} takes {wanted.__name__} there"
    )


def _inner(value: Any, ratio: float | None, key: str) -> Any:
    """A press inside another: a name, or {press: name, and its settings}."""
    if isinstance(value, str):
        value = {"press": value}
    if not isinstance(value, Mapping) or "press" not in value:
        raise ValueError(f"{key}={value!r} is not allowed, it must be a press: {{press: <name>}}")
    settings = {name: it for name, it in value.items() if name != "press"}
    if ratio is None:
        ratio = settings.pop(RATIO, None)
    return _build(value["press"], settings, ratio, key)


def _hands_down(press: Any, ratio: float | None) -> bool:
    """Whether the ratio of ``press`` is that of the press inside it."""
    if not isinstance(inspect.getattr_static(type(press), RATIO, None), property):
        return False
    try:
        press.compression_ratio = ratio or 0.0
    except AttributeError:  # how kvpress says that it has none to set
        return False
    return True


def _listed(parameters: Mapping[str, Any]) -> str:
    return ", ".join(sorted(it for it in parameters if not it.startswith("_"))) or "none"
