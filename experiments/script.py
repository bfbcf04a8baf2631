"""What every script here does with its arguments: model, memory, and what is refused."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from memollm.memory.ebbinghaus import Memory

DEFAULTS = Memory()


def parser(name: str, about: str | None) -> argparse.ArgumentParser:
    """For ``name`` with the docstring ``about``, and the model."""
    made = argparse.ArgumentParser(
        prog=name, description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "--model", default="reference", help="of conf/model, a hub id, or a folder (%(default)s)"
    )
    return made


def add_memory(
    made: argparse.ArgumentParser,
    threshold: float | None = None,
    strength: float = DEFAULTS.strength,
    layer_fraction: float = DEFAULTS.layer_fraction,
) -> None:
    """The memory's three numbers, with these defaults; no threshold: the memory's own."""
    add, told = made.add_argument, 0.01 if threshold is None else threshold
    add(
        "--threshold", type=float, default=threshold,
        help=f"retention below which a token is forgotten ({told})",
    )  # fmt: skip
    add(
        "--memory_strength", type=float, default=strength,
        help="how slowly a token fades that nothing rehearses (%(default)s)",
    )  # fmt: skip
    add(
        "--layer_fraction", type=float, default=layer_fraction,
        help="share of the layers, from the first, that forget (%(default)s)",
    )  # fmt: skip


def memory(given: argparse.Namespace) -> Memory:
    """The memory that was asked for.

    Raises:
        ValueError: naming the key, the value and what is allowed.
    """
    return Memory(
        threshold=given.threshold,
        strength=given.memory_strength,
        layer_fraction=given.layer_fraction,
    )


def run(
    parser: argparse.ArgumentParser,
    work: Callable[[argparse.Namespace], None],
    arguments: Sequence[str] | None,
) -> int:
    """Do ``work``; what it refuses, before a model is loaded, is told with exit code 2."""
    given = parser.parse_args(arguments)
    try:
        work(given)
    except (ValueError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0
