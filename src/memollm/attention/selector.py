"""Which attention to use, from what it costs on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from memollm.attention import measurements
from memollm.attention.config import AttentionConfig
from memollm.attention.measurements import Cost
from memollm.registry import refusal

# How much of softmax attention over all tokens is left, best first.
EXACT, SHARED, SPARSE, SUMMED = "exact", "shared keys", "sparse", "without softmax"
ORDER = (EXACT, SHARED, SPARSE, SUMMED)
FIDELITY = {
    "full": EXACT,
    "flash": EXACT,
    "gqa": SHARED,
    "mqa": SHARED,
    "longformer": SPARSE,
    "block_sparse": SPARSE,
    "local": SPARSE,
    "nsa": SPARSE,
    "linear": SUMMED,
}
# What a more faithful attention may cost, in units of the cheapest.
PRICE = 2.0
CACHED = {"linear"}  # whose cache does not grow with the text
BYTES = 4  # of a number in float32


@dataclass(frozen=True)
class Scenario:
    """What matters, and what comes into question."""

    candidates: tuple[str, ...]
    backward: bool  # gradients, too
    cached: bool  # keys and values of the text are kept, and count as memory
    by_memory: bool  # the cheapest is the one that holds least, not the quickest


SCENARIOS = {
    "training": Scenario(("full", "flash", "local", "linear"), True, False, False),
    "inference": Scenario(("full", "flash", "gqa", "mqa"), False, True, False),
    "long_context": Scenario(
        ("flash", "longformer", "block_sparse", "local", "nsa", "linear"), False, True, False
    ),
    "memory_limited": Scenario(("flash", "gqa", "mqa", "local", "linear"), False, True, True),
}


@dataclass(frozen=True)
class Candidate:
    """A layer, what it costs, and how that is known."""

    config: AttentionConfig
    cost: Cost
    known: str

    def described(self) -> str:
        return (
            f"{self.config.attention_type} {self.cost.latency_ms:.1f} ms "
            f"{self.cost.memory_mb:.1f} MB"
        )


class AttentionSelector:
    """Chooses attention layers."""

    @staticmethod
    def select_for_scenario(
        scenario: str,
        seq_len: int,
        memory_constraint: int | float | None = None,
        latency_constraint: int | float | None = None,
        *,
        d_model: int = 512,
        n_heads: int = 8,
    ) -> AttentionConfig:
        """The most faithful attention at no more than twice the price of the cheapest.

        Everything is causal, of one row, one layer. ``reason`` of the result says what was compared
        and what decided. The first call for a machine measures for some seconds; measurements are
        kept in the user's cache folder.

        Args:
            scenario: training (forward and backward), inference, long_context (both quick, with a
                cache), memory_limited (the price is memory).
            seq_len: tokens.
            memory_constraint: MB that a call may hold, its cache included.
            latency_constraint: milliseconds that a call may take.
            d_model: width.
            n_heads: heads.

        Raises:
            ValueError: for an unknown scenario, or constraints that no candidate meets.
        """
        if scenario not in SCENARIOS:
            raise refusal("scenario", scenario, SCENARIOS)
        if not isinstance(seq_len, int) or seq_len < 1:
            raise ValueError(f"seq_len must be an integer >= 1, got {seq_len!r}")
        asked = SCENARIOS[scenario]
        candidates = []
        for name in asked.candidates:
            if name == "gqa" and n_heads % 4:
                continue
            config = AttentionConfig(
                name, d_model, n_heads, causal=True, max_seq_len=max(seq_len, 2048)
            )
            cost, known = measurements.cost(config, seq_len, asked.backward)
            if asked.cached:
                held = cost.memory_mb + cache_mb(config, seq_len)
                cost = replace(cost, memory_mb=held)
            candidates.append(Candidate(config, cost, known))
        return choose(candidates, asked.by_memory, memory_constraint, latency_constraint)


def choose(
    candidates: Sequence[Candidate],
    by_memory: bool,
    memory_constraint: int | float | None,
    latency_constraint: int | float | None,
) -> AttentionConfig:
    """The choice among candidates whose costs are known, with its reason.

    Raises:
        ValueError: if none meets the constraints.
    """
    most = {"memory_mb": memory_constraint, "latency_ms": latency_constraint}
    limits = {name: limit for name, limit in most.items() if limit is not None}
    able = [
        it for it in candidates if all(getattr(it.cost, k) <= most for k, most in limits.items())
    ]
    costs = "; ".join(it.described() for it in candidates)
    stated = ", ".join(f"{name} <= {limit:g}" for name, limit in limits.items())
    if not able:
        raise ValueError(f"no attention meets {stated}: {costs}")
    price = "memory_mb" if by_memory else "latency_ms"
    least = min(getattr(it.cost, price) for it in able)
    affordable = [it for it in able if getattr(it.cost, price) <= PRICE * least]
    best = min(
        affordable,
        key=lambda it: (
            ORDER.index(FIDELITY[it.config.attention_type]), getattr(it.cost, price)
        ),
    )  # fmt: skip
    kind = FIDELITY[best.config.attention_type]
    reason = (
        f"{best.config.attention_type} ({kind}): the most faithful of those that cost at most "
        f"{PRICE:g} times the least {'memory' if by_memory else 'time'}"
        f"{f' and meet {stated}' if limits else ''}; {best.known}: {costs}"
    )
    return replace(best.config, reason=reason)


def cache_mb(config: AttentionConfig, seq_len: int) -> float:
    """MiB of a layer's cache for one row, in float32."""
    dim = config.d_model // config.n_heads
    if config.attention_type in CACHED:
        numbers = config.n_heads * dim * (dim + 1)
    else:
        shared = {"gqa": config.n_heads // 4, "mqa": 1}
        numbers = 2 * shared.get(config.attention_type, config.n_heads) * dim * seq_len
    return BYTES * numbers / 2**20
