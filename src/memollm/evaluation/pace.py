"""What the rounds of a race say: rates, paired ratios and sizes, with their errors."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from memollm.evaluation.base import Metric, Sample
from memollm.evaluation.spread import median

SUBJECT, UNTOUCHED, AGAIN = "subject", "untouched", "again"  # the variants of a round


def at_context(rounds: Sequence[Sample]) -> dict[str, Metric]:
    """Metrics of the rounds at one context, with or without a memory; their order is no matter."""
    rounds = sorted(rounds, key=lambda sample: sample["id"])
    checks = [sample for sample in rounds if AGAIN in sample["variants"]]
    aa = _median(checks, lambda it: _ratios(it, AGAIN), "times", None) if checks else None
    found = {"decode_ratio_to_baseline": _against_baseline(rounds, _ratios)}
    if aa is not None:
        noise = abs(aa.value - 1) + 2 * (aa.stderr or 0.0)
        found["aa_noise"] = Metric(noise, "times", False, aa.n)
    found |= {
        "decode_tokens_per_second": _median(rounds, _decode_rates, "tokens/s", True),
        "prefill_tokens_per_second": _median(rounds, _prefill_rate, "tokens/s", True),
        "prefill_ratio_to_baseline": _against_baseline(rounds, _prefill_ratio),
        "time_to_first_token": _median(rounds, _first_token, "s", False),
        "bandwidth_fraction": _median(rounds, _bandwidth_fractions, "share", True),
        "kept_tokens": Metric.mean(
            [statistics.fmean(it["memory"]["kept_tokens"]) for it in rounds], "tokens", None
        ),
        "kv_bytes": Metric.mean([float(it["memory"]["kv_bytes"]) for it in rounds], "bytes", False),
        "kv_ratio_to_baseline": Metric.mean(
            [it["memory"]["kv_bytes"] / it["memory"]["kv_bytes_baseline"] for it in rounds],
            "times",
            False,
        ),
    }
    if aa is not None:
        found["aa_ratio"] = aa
    if all(_variant(it)["peak_bytes"] is not None for it in rounds):
        found["peak_bytes"] = _median(rounds, lambda it: _peak(it, _measured(it)), "bytes", False)
        found["peak_bytes_baseline"] = _median(
            rounds, lambda it: _peak(it, UNTOUCHED), "bytes", False
        )
    return found


def _median(
    rounds: Sequence[Sample],
    values: Callable[[Sample], list[float]],
    unit: str,
    higher_is_better: bool | None,
) -> Metric:
    groups = [values(sample) for sample in rounds]
    value, error = median(groups)
    return Metric(value, unit, higher_is_better, sum(map(len, groups)), error)


def _against_baseline(rounds: Sequence[Sample], values: Callable[[Sample], list[float]]) -> Metric:
    """A ratio to the untouched model; of the untouched model itself 1, and not measured."""
    if any(SUBJECT in sample["variants"] for sample in rounds):
        return _median(rounds, values, "times", True)
    return Metric(1.0, "times", True, len(rounds))


def _measured(sample: Sample) -> str:
    return SUBJECT if SUBJECT in sample["variants"] else UNTOUCHED


def _variant(sample: Sample) -> Sample:
    return sample["variants"][_measured(sample)]


def _steps(sample: Sample, name: str) -> list[float]:
    """Seconds a decoded token, the mean of each turn."""
    return [statistics.fmean(turn) for turn in sample["variants"][name]["turns"]]


def _ratios(sample: Sample, name: str = SUBJECT) -> list[float]:
    pairs = zip(_steps(sample, UNTOUCHED), _steps(sample, name), strict=True)
    return [before / after for before, after in pairs]


def _decode_rates(sample: Sample) -> list[float]:
    return [sample["batch"] / seconds for seconds in _steps(sample, _measured(sample))]


def _prefill_rate(sample: Sample) -> list[float]:
    return [sample["batch"] * sample["prompt"] / _variant(sample)["prefill"]]


def _prefill_ratio(sample: Sample) -> list[float]:
    variants = sample["variants"]
    return [variants[UNTOUCHED]["prefill"] / variants[SUBJECT]["prefill"]]


def _first_token(sample: Sample) -> list[float]:
    return [_variant(sample)["first_token"]]


def _bandwidth_fractions(sample: Sample) -> list[float]:
    needed = sample["weight_bytes"] + sample["memory"]["kv_bytes"]
    return [needed / s / sample["bandwidth"] for s in _steps(sample, _measured(sample))]


def _peak(sample: Sample, name: str) -> list[float]:
    return [float(sample["variants"][name]["peak_bytes"])]
