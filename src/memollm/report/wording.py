"""Numbers as people read them: as many digits as the standard error deserves."""

from __future__ import annotations

import math

from memollm.record import Memory
from memollm.report.paired import SHARE
from memollm.report.table import Entry
from memollm.statistics.comparison import Difference

MISSING = "–"


def entry(it: Entry | None) -> str:
    """All that is said of a number, in one line.

    >>> from memollm.record import Measured
    >>> entry(Entry([Measured(12.3456, "", False, 8, 0.05)], 11.0, unpaired="no samples to pair"))
    '12.346 ±0.050, +1.35, unpaired'
    """
    return ", ".join(lines(it))


def lines(it: Entry | None) -> list[str]:
    """A value with its standard error; its difference from the baseline's; what that is worth."""
    if it is None:
        return [MISSING]
    return [*_compared(it), *([it.remark] if it.remark else [])]


def _compared(it: Entry) -> list[str]:
    factor, unit = (100.0, "%") if it.metrics[0].unit == SHARE else (1.0, "")
    stderr = it.metrics[0].stderr if len(it.metrics) == 1 else None
    doubt = (stderr or 0.0) * factor
    text = number(it.value * factor, doubt)
    if stderr is not None:
        text += f" ±{number(doubt, doubt)}"
    if it.delta is None:
        return [text + unit]
    points = " points" if factor == 100 else ""
    if it.paired is None or it.p is None:
        return [text + unit, f"{it.delta * factor:+.3g}{points}", "unpaired"]
    told = chance(it.p) if it.resolved else f"not resolved, {chance(it.p)}"
    distance = difference(it.paired, factor) + points + interval(it.paired, factor)
    return [text + unit, distance, told]


def difference(it: Difference, factor: float) -> str:
    """A difference, to the second digit of its interval's half width.

    >>> from memollm.statistics.pairing import Outcome
    >>> one = Difference(Outcome.correct, -0.03, (-0.09, 0.04), 0.5, 99, 99, 1, 4, 0, "")
    >>> difference(one, 100.0) + interval(one, 100.0), difference(one, 1.0) + interval(one, 1.0)
    ('-3 (-9..+4)', '-0.030 (-0.090..+0.040)')
    """
    return signed(it.value * factor, _doubt(it, factor))


def interval(it: Difference, factor: float) -> str:
    """Its limits in brackets; nothing where it has none."""
    if it.interval is None:
        return ""
    low, high = (signed(limit * factor, _doubt(it, factor)) for limit in it.interval)
    return f" ({low}..{high})"


def signed(value: float, doubt: float) -> str:
    """With its sign, but for a zero."""
    text = number(value, doubt)
    if float(text) == 0:
        return text.lstrip("-")
    return text if value < 0 else f"+{text}"


def chance(p: float) -> str:
    """A p-value.

    >>> chance(0.0312), chance(1e-7)
    ('p 0.031', 'p < 0.001')
    """
    return f"p {p:.2g}" if p >= 0.001 else "p < 0.001"


def _doubt(it: Difference, factor: float) -> float:
    """Half the interval's width; points are told whole, unless they are resolved finer."""
    if it.interval is None:
        return 0.0
    half = factor * (it.interval[1] - it.interval[0]) / 2
    return 10 * half if factor == 100 else half


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
