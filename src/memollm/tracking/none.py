"""No tracker: the record on disk is all there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, SupportsFloat

from memollm.registry import register
from memollm.tracking.base import LiveTracker, Tracker
from memollm.tracking.comparison import Comparison


class Silent(LiveTracker):
    """Mirrors nothing."""

    def log(self, metrics: Mapping[str, SupportsFloat], step: int | None = None) -> None: ...

    def log_table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None: ...

    def log_image(self, name: str, path: str) -> None: ...

    def log_html(self, name: str, path: str) -> None: ...

    def log_artifact(self, name: str, type: str, paths: Sequence[str]) -> None: ...

    def summary(self, values: Mapping[str, Any]) -> None: ...

    def finish(self, exit_code: int) -> None: ...


@register("tracker", "none")
@dataclass
class NoTracker(Tracker):
    """Leaves nothing behind but the record."""

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
        return Silent()

    def share(self, comparison: Comparison, folder: str) -> None: ...
