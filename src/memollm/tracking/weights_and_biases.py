"""Weights & Biases: the run once more, where a team can browse and compare.

Offline unless asked otherwise, when all goes into the run's own folder, to be uploaded by
`wandb sync` or never. wandb is imported by ``start`` alone: it takes half a second.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shlex
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsFloat

from memollm.registry import refusal, register
from memollm.tracking import wandb_report
from memollm.tracking.base import LiveTracker, Tracker, TrackerUnavailable
from memollm.tracking.comparison import Comparison
from memollm.tracking.confinement import Confinement
from memollm.tracking.none import Silent
from memollm.tracking.plain import grid, plain

if TYPE_CHECKING:
    import wandb

TAG_LENGTH = 64  # characters; wandb refuses longer ones
GRACE = 30.0  # seconds that a call of wandb may take beyond its own time limit


class WandbMode(StrEnum):
    """Where the run goes: into its folder, to the server as it happens, or nowhere."""

    offline = "offline"
    online = "online"
    disabled = "disabled"


@register("tracker", "wandb")
@dataclass
class WandbTracker(Tracker):
    """Mirrors a run to Weights & Biases."""

    project: str = "memollm"
    entity: str | None = None  # user or team; None: the default one of the account
    mode: WandbMode | None = None  # None: what WANDB_MODE says, else offline
    group: str | None = None  # None: whatever the run belongs to, such as its sweep
    tags: list[str] = field(default_factory=list)  # added to the run's own; 1 to 64 characters
    system_metrics: bool = False  # load of CPU and GPU, sampled while measuring
    init_timeout: float = 30.0  # seconds to wait for the server before giving up the run
    finish_timeout: float = 300.0  # seconds to wait for uploads before leaving them on disk

    def __post_init__(self) -> None:
        if not self.project or len(self.project) > 128 or set(self.project) & set("/\\#?%:"):
            raise ValueError(
                "tracker.project must have 1 to 128 characters, none of them one of "
                f"/ \\ # ? % :, got {self.project!r}"
            )
        for tag in self.tags:
            if not 1 <= len(tag) <= TAG_LENGTH:
                raise ValueError(f"tracker.tags must have 1 to {TAG_LENGTH} characters: {tag!r}")
        for name in ("init_timeout", "finish_timeout"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"tracker.{name} must be > 0, got {getattr(self, name)}")

    def chosen_mode(self) -> WandbMode:
        """``mode``; if that is None, WANDB_MODE; if that is not set, offline."""
        if self.mode is not None:
            return WandbMode(self.mode)
        value = os.environ.get("WANDB_MODE") or WandbMode.offline
        if value not in list(WandbMode):
            raise refusal("WANDB_MODE", value, [mode.value for mode in WandbMode])
        return WandbMode(value)

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
        mode = self.chosen_mode()
        if mode is WandbMode.disabled:
            return Silent()
        confinement = Confinement(run_dir, mode)
        try:
            run = self._init(mode, confinement, run_dir, name, group, job_type, tags, config)
        except BaseException:
            confinement.release()
            raise
        if mode is WandbMode.online:
            print(f"W&B run: {run.url}")
        return LiveWandb(run, confinement, self.finish_timeout)

    def share(self, comparison: Comparison, folder: str) -> None:
        mode = self.chosen_mode()
        if mode is WandbMode.disabled:
            return
        comparison = dataclasses.replace(comparison, group=self.group or comparison.group)
        path = shlex.quote(str(wandb_report.write(comparison, Path(folder))))
        owner = f" --entity {shlex.quote(self.entity)}" if self.entity else ""
        project = f" --project {shlex.quote(self.project)}" if self.project != "memollm" else ""
        command = f"python -m memollm.tracking.wandb_report {path}{owner}{project}"
        if mode is WandbMode.offline:
            place = shlex.quote(os.path.normpath(folder))
            runs = f"{place}/*/wandb/offline-run-* {place}/wandb/offline-run-*"
            print(f"W&B, to upload the sweep: wandb sync {runs}")
            print(f"W&B, and then its report: {command}")
            return
        try:
            print(f"W&B Report: {wandb_report.save(comparison, self.entity, self.project)}")
        except wandb_report.ReportUnavailable as error:
            warnings.warn(f"{error}; later: {command}", RuntimeWarning, stacklevel=2)

    def _init(
        self,
        mode: WandbMode,
        confinement: Confinement,
        run_dir: str,
        name: str,
        group: str | None,
        job_type: str,
        tags: Sequence[str],
        config: Mapping[str, Any],
    ) -> wandb.Run:
        import wandb

        settings = wandb.Settings(
            mode=mode.value,
            root_dir=os.path.abspath(run_dir),
            project=self.project,
            entity=self.entity,
            run_name=name,
            run_group=self.group or group,
            run_job_type=job_type,
            # Tags of the run may hold a path; those of the user have been checked.
            run_tags=tuple(dict.fromkeys(tag[:TAG_LENGTH] for tag in [*self.tags, *tags] if tag)),
            reinit="create_new",  # leaves the caller's own run, if there is one, alone
            init_timeout=self.init_timeout,
            finish_timeout=self.finish_timeout,
            finish_timeout_raises=True,
            # What the terminal says is up to the run.
            silent=True,
            console="off",
            # The record knows commit and versions; code, host and user name are not for all.
            disable_git=True,
            disable_code=True,
            save_code=False,
            label_disable=True,
            x_save_requirements=False,
            x_disable_meta=True,
            x_disable_stats=not self.system_metrics,
            x_disable_machine_info=not self.system_metrics,
            symlink=False,
        )
        try:
            with confinement.deadline(self.init_timeout + GRACE):
                if mode is WandbMode.online:
                    _require_login()
                return wandb.init(config=plain(config), settings=settings)
        except BaseException as error:
            _stop_helper_quietly()
            if not isinstance(error, (wandb.Error, OSError, TimeoutError)):
                raise
            reason = str(error).partition("\n")[0]  # what follows is advice on wandb.init()
            raise TrackerUnavailable(
                f"W&B could not start a run within tracker.init_timeout={self.init_timeout:g} "
                f"seconds ({reason}); tracker.mode=offline keeps it in the run's folder, "
                "tracker=none does without"
            ) from error


class LiveWandb(LiveTracker):
    """One W&B run. What goes wrong in it becomes a warning, since the record has it all."""

    def __init__(self, run: wandb.Run, confinement: Confinement, finish_timeout: float) -> None:
        self._run = run
        self._confinement = confinement
        self._finish_timeout = finish_timeout
        self._curves: set[str] = set()  # metrics that are drawn over "step"
        self._to_sync = bool(run.offline)
        self._lost = False
        self._finished = False

    def log(self, metrics: Mapping[str, SupportsFloat], step: int | None = None) -> None:
        row = {plain(name): float(value) for name, value in metrics.items()}
        if step is None:
            self._send(lambda: self._run.log(row))
        else:
            self._send(lambda: self._log_point(row, step))

    def _log_point(self, row: dict[str, float], step: int) -> None:
        # Not wandb's own step: it is one for the whole run, and what comes after a later one
        # is dropped. Two evaluations both start from 0.
        for name in row.keys() - self._curves:
            self._run.define_metric(name, step_metric="step")
        self._curves.update(row)
        self._run.log({**row, "step": int(step)})

    def log_table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        import wandb

        columns, data = grid(rows)
        self._send(
            lambda: self._run.log(
                {name: wandb.Table(columns=columns, data=data, allow_mixed_types=True)}
            )
        )

    def log_image(self, name: str, path: str) -> None:
        import wandb

        if path.lower().endswith(".svg"):  # wandb's images are bitmaps
            self.log_html(name, path)
        else:
            self._send(lambda: self._run.log({name: wandb.Image(path)}))

    def log_html(self, name: str, path: str) -> None:
        import wandb

        def send() -> None:
            page = Path(path).read_text(encoding="utf-8")
            self._run.log({name: wandb.Html(page, inject=False, data_is_not_path=True)})

        self._send(send)

    def log_artifact(self, name: str, type: str, paths: Sequence[str]) -> None:
        import wandb

        def send() -> None:
            artifact = wandb.Artifact(re.sub(r"[^A-Za-z0-9_.-]+", "-", name)[:128], type)
            for path in paths:
                if os.path.isdir(path):
                    artifact.add_dir(path, name=os.path.basename(os.path.normpath(path)))
                else:
                    artifact.add_file(path)
            self._run.log_artifact(artifact)

        self._send(send)

    def summary(self, values: Mapping[str, Any]) -> None:
        self._send(lambda: self._run.summary.update(plain(values)))

    def finish(self, exit_code: int) -> None:
        if self._finished:
            return
        self._finished = True
        try:
            limit = self._finish_timeout + GRACE
            self._send(lambda: self._run.finish(exit_code=exit_code), limit)
            self._send(lambda: _stop_helper(exit_code), limit)
        finally:
            self._confinement.release()
        if self._to_sync:
            print(f"W&B, to upload this run: wandb sync {shlex.quote(self._run.settings.sync_dir)}")

    def _send(self, send: Callable[[], object], limit: float = GRACE) -> None:
        if self._lost:
            return
        try:
            with self._confinement.deadline(limit):
                send()
        except Exception as error:  # whatever it is, it must not cost a measurement
            self._lost = isinstance(error, ConnectionError)
            self._to_sync = True
            if self._lost:
                _stop_helper_quietly()
            rest = "the rest of the run is" if self._lost else "this is"
            warnings.warn(
                f"W&B failed ({type(error).__name__}: {error}); {rest} only in the record",
                RuntimeWarning,
                stacklevel=3,
            )


def _require_login() -> None:
    """Refuse to go on without an API key, where wandb would ask for one or wait."""
    import wandb

    wandb.setup(settings=wandb.Settings(mode="online", silent=True))
    if not wandb.login(prompt=False, verify=False):
        raise TrackerUnavailable(
            "W&B is to be online, but no API key is configured: run `wandb login`, or set "
            "WANDB_API_KEY, or choose tracker.mode=offline"
        )


def _stop_helper(exit_code: int) -> None:
    """End wandb's helper process, so that the next run has its own, in its own folder.

    Raises:
        ConnectionError: if it has failed before.
    """
    import wandb

    if wandb.run is not None:  # the caller's own run, which shares it
        return
    try:
        wandb.teardown(exit_code)
    except SystemExit as error:  # wandb's answer to a helper that has failed
        raise ConnectionError(f"its helper process ended with {error.code}") from error


def _stop_helper_quietly() -> None:
    with contextlib.suppress(Exception):  # there is a graver error to speak of
        _stop_helper(1)
