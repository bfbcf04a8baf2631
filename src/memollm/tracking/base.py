"""What a tracker is: a mirror of the run for people to browse, from which nothing is read.

The record on disk is the truth. So a tracker may refuse to start, before anything has been
measured; once started, it must neither fail nor hold up the measuring.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, SupportsFloat

from memollm.tracking.comparison import Comparison


class TrackerUnavailable(RuntimeError):
    """The tracker cannot start; the message says what to do about it."""


class LiveTracker(abc.ABC):
    """One run being mirrored, between ``Tracker.start`` and ``finish``."""

    @abc.abstractmethod
    def log(self, metrics: Mapping[str, SupportsFloat], step: int | None = None) -> None:
        """Numbers by name; with ``step``, a point of a curve over steps.

        Steps of different metrics are independent, and may come in any order.
        """

    @abc.abstractmethod
    def log_table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """One line per mapping; a row need not have every column, nor a column one type."""

    @abc.abstractmethod
    def log_image(self, name: str, path: str) -> None: ...

    @abc.abstractmethod
    def log_html(self, name: str, path: str) -> None:
        """A page, shown as it is: escaping the text of others is up to its author."""

    @abc.abstractmethod
    def log_artifact(self, name: str, type: str, paths: Sequence[str]) -> None:
        """Files and folders, copied as they are now."""

    @abc.abstractmethod
    def summary(self, values: Mapping[str, Any]) -> None:
        """What the run comes to, in one line of a table of runs."""

    @abc.abstractmethod
    def finish(self, exit_code: int) -> None:
        """Close the mirror; anything but 0 marks the run as failed. A second call does nothing."""


@dataclass
class Tracker(abc.ABC):
    """A place where runs can be mirrored: its fields are its configuration."""

    @abc.abstractmethod
    def start(
        self,
        *,
        run_dir: str,
        name: str,
        group: str | None,
        job_type: str,
        tags: Sequence[str],
        config: Mapping[str, Any],
    ) -> LiveTracker:
        """Open the mirror of one run; all that it writes lies in ``run_dir``.

        Raises:
            TrackerUnavailable: if it cannot start.
        """

    @abc.abstractmethod
    def share(self, comparison: Comparison, folder: str) -> None:
        """Set up a page that compares the runs of a sweep, where there can be one.

        Args:
            comparison: which runs, and what to show of them.
            folder: of the sweep, for what is left to be done by hand.
        """
