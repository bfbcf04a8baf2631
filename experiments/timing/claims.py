"""What the documents that this project grew from say of speed, and what follows from them alone.

Tokens per second on Qwen2.5-0.5B, by mode, as each of three documents of the same project prints
them. Their procedure: each mode once, in this order, in one process without a warm-up; tokens drawn
at temperature 0.7, ending where the model ends its text; number of tokens by wall time, reading the
prompt included.
"""

from __future__ import annotations

from collections.abc import Mapping

BASELINE = "baseline"
MODES = (BASELINE, "soft_delete", "sparse_attention")
CLAIMS = {BASELINE: 10.90, "soft_delete": 20.54, "sparse_attention": 18.42}  # the README
ELSEWHERE = {
    "its technical notes": {BASELINE: 15.20, "soft_delete": 16.11, "sparse_attention": 14.14},
    "its notes on sparse attention": {
        BASELINE: 42.7, "soft_delete": 37.5, "sparse_attention": 39.8,
    },
}  # fmt: skip
TEMPERATURE = 0.7
MAX_TOKENS = 50


def ratios(rates: Mapping[str, float]) -> dict[str, float]:
    """Each mode's speed by the baseline's."""
    return {mode: rate / rates[BASELINE] for mode, rate in rates.items()}


def contradictions() -> list[str]:
    """How the documents rank the modes, fastest first."""
    told = {"its README": CLAIMS, **ELSEWHERE}
    return [
        f"{source}: " + " > ".join(f"{mode} {rates[mode]:.2f}" for mode in _ranked(rates))
        for source, rates in told.items()
    ]


def _ranked(rates: Mapping[str, float]) -> list[str]:
    return sorted(rates, key=lambda mode: -rates[mode])
