"""Which runs a person asks for: by settings, by status, by what was measured, by when."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from memollm.record import RunRecord, Status
from memollm.report.settings import settings
from memollm.runs.found import Run

UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
NOTHING = ("null", "none", "")  # what stands for a setting that a run does not have


def chosen(
    runs: Sequence[Run],
    filters: Sequence[str] = (),
    status: Status | None = None,
    evaluation: str | None = None,
    since: datetime | None = None,
) -> list[Run]:
    """The runs that all conditions hold for, in their order.

    Args:
        runs: where to look.
        filters: ``key=value`` each, keys as people type them; several values with commas.
        status: of the run.
        evaluation: that it has a result of.
        since: the earliest start.

    Raises:
        ValueError: for a filter that is none, or a key that no run has.
    """
    flat = [settings(run.record.config) for run in runs]
    wanted = [_condition(text, flat) for text in filters]
    return [
        run
        for run, told in zip(runs, flat, strict=True)
        if all(_matches(told.get(key), values) for key, values in wanted)
        and (status is None or run.record.status == status)
        and (evaluation is None or evaluation in run.record.results)
        and (since is None or _after(run.record, since))
    ]


def moment(text: str, now: datetime | None = None) -> datetime:
    """A date, a date and time, or how long ago: ``2026-11-20``, ``2026-11-20T08:00``, ``12h``.

    Without a time zone it is this machine's.

    >>> moment("2d", datetime(2026, 11, 22, tzinfo=UTC)).isoformat()
    '2026-11-20T00:00:00+00:00'
    """
    if ago := re.fullmatch(r"(\d+)([mhdw])", text):
        return (now or datetime.now(UTC)) - timedelta(**{UNITS[ago[2]]: int(ago[1])})
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        raise ValueError(
            f"since={text!r} is not allowed: give a date (2026-11-20), a date and time, or how "
            "long ago (30m, 12h, 2d, 1w)"
        ) from None


def _condition(text: str, flat: Sequence[dict[str, str]]) -> tuple[str, list[str]]:
    key, sign, value = text.partition("=")
    if not sign:
        raise ValueError(f"{text!r} is not a condition; write key=value, as in mode=soft_delete")
    known = {name: None for told in flat for name in told}
    if known and key not in known:
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        short = [name for name in known if "." not in name]
        raise ValueError(f"no run has the setting {key!r}: they have {', '.join(short)}, ...{hint}")
    return key, value.split(",")


def _matches(told: str | None, values: Sequence[str]) -> bool:
    if told is None:
        return any(value.lower() in NOTHING for value in values)
    return any(told == value or _same_number(told, value) for value in values)


def _same_number(one: str, other: str) -> bool:
    try:
        return float(one) == float(other)
    except ValueError:
        return False


def _after(run: RunRecord, since: datetime) -> bool:
    try:
        return datetime.fromisoformat(str(run.provenance.get("started"))) >= since
    except ValueError:
        return False
