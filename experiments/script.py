"""What every script here does with its arguments."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence


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
