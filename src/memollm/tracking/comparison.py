"""A sweep as trackers may show it: which runs, what varies between them, what was measured."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Comparison:
    """What a page that compares the runs of a sweep needs to know."""

    title: str
    group: str  # of the runs
    settings: Mapping[str, str]  # what varies: its name, and its path in a run's configuration
    measures: Mapping[str, bool]  # by name in a run's summary: whether higher is better
    costs: Sequence[str]  # what is paid for them, by name in a run's summary
    table: str  # name of the comparison table in the report's own run

    def text(self) -> str:
        """As json."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"


def parse(text: str) -> Comparison:
    """The comparison that ``text`` holds as json.

    Raises:
        ValueError: if it holds none.
    """
    try:
        plain = json.loads(text)
        return Comparison(**{key: plain[key] for key in Comparison.__dataclass_fields__})
    except (KeyError, TypeError) as error:
        raise ValueError(f"this is no comparison of runs: {error}") from error
