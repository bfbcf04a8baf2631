"""Numbers as people read them: as many digits as the standard error deserves."""

from __future__ import annotations

import math

from memollm.record import Memory
from memollm.report.table import Entry

MISSING = "–"


def entry(it: Entry | None) -> str:
    """A value with its standard error, and in brackets its distance from the baseline's.

    >>> from memollm.record import Measured
    >>> entry(Entry(Measured(12.3456, "", False, 8, 0.05), Measured(11.0, "", False, 8, 0.05)))
    '12.346 ±0.050 (+1.35)'
    """
    if it is None:
        return MISSING
    factor, unit = (100, "%") if it.metric.unit == "share" else (1, "")
    value, doubt = it.metric.value * factor, (it.metric.stderr or 0.0) * factor
    text = number(value, doubt)
    if it.metric.stderr is not None:
        text += f" ±{number(doubt, doubt)}"
    text += unit
    if it.delta is None:
        return text
    return f"{text} (=)" if it.delta == 0 else f"{text} ({it.delta * factor:+.3g})"


def number(value: float, doubt: float = 0.0) -> str:
    """``value`` to the second digit of its standard error; without one, to four digits.

    >>> number(1234.5678, 0.31), number(0.000123456), number(math.inf)
    ('1234.57', '0.0001235', 'inf')
    """
    if not math.isfinite(value):
        return str(value)
    if not (math.isfinite(doubt) and doubt > 0):
        return f"{value:.4g}"
    decimals = min(max(1 - math.floor(math.log10(doubt)), 0), 6)
    return f"{value:.{decimals}f}"


def kept(memory: Memory | None) -> str:
    """Tokens still visible, the mean over layers, of those seen.

    >>> kept(Memory([50.0, 100.0], 100, 1.0, 1.0))
    '75 of 100 (75%)'
    """
    if memory is None or not memory.kept_tokens:
        return MISSING
    mean = sum(memory.kept_tokens) / len(memory.kept_tokens)
    return f"{mean:.0f} of {memory.seen_tokens} ({mean / memory.seen_tokens:.0%})"


def kv_bytes(memory: Memory | None) -> str:
    """Bytes that the cache holds, and their share of the untouched model's.

    >>> kv_bytes(Memory([50.0], 100, 1.5e6, 3e6))
    '1.5 MB (50%)'
    """
    if memory is None:
        return MISSING
    text = size(memory.kv_bytes)
    share = memory.kv_bytes / memory.kv_bytes_baseline if memory.kv_bytes_baseline else math.nan
    return f"{text} ({share:.0%})"


def size(count: float) -> str:
    """Bytes in the unit that suits them."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.4g} {unit}" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
