"""What is wrong with a command line, in a line or two: the key, the value, what is allowed.

Hydra and OmegaConf know all of that, and say it in the terms of their own machinery.
"""

from __future__ import annotations

import dataclasses
import difflib
import re

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from memollm.registry import groups, refusal

COMPOSITION = (HydraException, OmegaConfBaseException)  # what composing a configuration raises


def explain(error: BaseException, overrides: list[str]) -> str:
    """``error``, raised while ``overrides`` were composed, for the person who typed them."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _unknown_choice(error.missing_cfg_file, error)
    if isinstance(error, OverrideParseException):
        problem = error.message.splitlines()[1] if "\n" in error.message else error.message
        return f"{error.override!r} is not a setting ({problem}); write key=value"
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    if isinstance(cause, OmegaConfBaseException):
        return _unsuitable(cause, overrides)
    if "Config group override must be" in str(error):
        return _no_choice(overrides)
    ambiguous = re.match(r"Ambiguous value for argument '(.*?)'", str(error))
    if ambiguous:
        return f"{ambiguous[1]} holds several values: to sweep over them add -m; a list is [1,2]"
    return str(error).split("\nConfig search path")[0].strip()


def _unknown_choice(missing: str, error: MissingConfigException) -> str:
    group, _, name = missing.rpartition("/")
    options = [it for it in error.options or _options(group) if not it.startswith("base_")]
    if not group:
        return f"There is no configuration {name!r}"
    return str(refusal(group, name, options)) if options else str(error).splitlines()[0]


def _no_choice(overrides: list[str]) -> str:
    for override in overrides:
        key, _, value = override.partition("=")
        if key in groups() and (value == "null" or not value[:1].isalpha() and value[:1] != "["):
            return str(refusal(key, value, _options(key)))
    return f"{' '.join(overrides)}: write key=value"


def _options(group: str) -> list[str]:
    return list(groups().get(group, {}))


def _unsuitable(cause: OmegaConfBaseException, overrides: list[str]) -> str:
    key = str(cause.full_key or "")
    value = next((it for it in overrides if it.lstrip("+~").startswith(f"{key}=")), key)
    text = cause.msg.splitlines()[0] if cause.msg else str(cause)
    if "not in" in text:  # an unknown key, in a dataclass or a dictionary of parts
        return _unknown_key(key, cause)
    return f"{value.lstrip('+~')} is not allowed: {text[:1].lower()}{text[1:]}"


def _unknown_key(key: str, cause: OmegaConfBaseException) -> str:
    if dataclasses.is_dataclass(cause.object_type):
        allowed = [field.name for field in dataclasses.fields(cause.object_type)]
    else:
        allowed = _options(key.rpartition(".")[0])
    return unknown_key(key, allowed)


def unknown_key(key: str, allowed: list[str]) -> str:
    """The words for a key that nothing reads: what is read there instead, and the nearest."""
    parent, _, name = key.rpartition(".")
    if not parent:
        allowed = [*allowed, "experiment"]
    near = difflib.get_close_matches(name, allowed, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    where = f"{parent} takes" if parent else "the keys are"
    return f"{key} is not a key: {where} {', '.join(sorted(allowed)) or 'none'}{hint}"


def require_known(node: DictConfig, path: str = "") -> None:
    """Refuse what ``+key=value`` put into a part that has no such field, and would not read it.

    Raises:
        ValueError: naming the key.
    """
    part = OmegaConf.get_type(node)
    typed = dataclasses.is_dataclass(part)
    fields = [it.name for it in dataclasses.fields(part)] if typed else list(node)
    for key in node:
        if key not in fields:
            raise ValueError(unknown_key(f"{path}{key}", fields))
        if not OmegaConf.is_missing(node, key) and isinstance(node[key], DictConfig):
            require_known(node[key], f"{path}{key}.")
