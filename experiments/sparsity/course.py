"""What a trace says of sparsity: how much is masked at each step, who went when, who was heard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import CensoredData, ecdf, rankdata

from experiments.sparsity.kinds import Kind
from memollm.traces.trace import Trace


def sparsity(trace: Trace) -> Float[np.ndarray, "layers steps"]:
    """Share of the tokens read so far that a memory layer has forgotten, after each step."""
    gone = trace.forgotten_at
    counts = [((gone > 0) & (gone <= seen)).sum(axis=1) / seen for seen in trace.seen]
    return np.stack(counts, axis=1)


def masked_share(trace: Trace) -> Float[np.ndarray, " layers"]:
    """Of the pairs of a decoded token and an earlier one, the share that was masked."""
    before = trace.seen[:-1]
    decoded = np.diff(trace.seen) == 1
    weights = np.where(decoded, before, 0)
    if not weights.sum():
        return sparsity(trace)[:, -1]
    return (sparsity(trace)[:, :-1] * weights).sum(axis=1) / weights.sum()


@dataclass(frozen=True)
class Survival:
    """How long tokens of one kind are kept: the Kaplan-Meier estimate, all layers pooled.

    A token that is still there at the end counts for as long as it was watched (it is censored);
    leaving it out, or taking the end for its death, would make the last ones look short-lived.
    """

    ages: Float[np.ndarray, " events"]  # tokens read since the token was
    alive: Float[np.ndarray, " events"]  # share of tokens that reach more than that age
    tokens: int  # times layers
    forgotten: int

    @property
    def median(self) -> float | None:
        """Age that half of them reach; None: more than half outlive the text."""
        below = self.alive <= 0.5
        return float(self.ages[below.argmax()]) if below.any() else None

    def at(self, age: float) -> float:
        """Share that outlives ``age``."""
        index = int(np.searchsorted(self.ages, age, side="right")) - 1
        return 1.0 if index < 0 else float(self.alive[index])


def survival(trace: Trace, of: Sequence[Kind]) -> dict[Kind, Survival]:
    """Survival of each kind in ``trace``; sinks, which cannot be forgotten, are left out."""
    read = int(trace.seen[-1])
    born = np.arange(1, read + 1)
    gone = trace.forgotten_at[:, :read]
    found = {}
    for kind in Kind:
        mine: Bool[np.ndarray, " tokens"] = np.array([it is kind for it in of[:read]])
        mine[: trace.sinks] = False
        if not mine.any():
            continue
        died = gone[:, mine] > 0
        ages = np.where(died, gone[:, mine] - born[mine], read - born[mine])
        sample = CensoredData(uncensored=ages[died], right=ages[~died])
        curve = ecdf(sample).sf
        found[kind] = Survival(
            curve.quantiles, curve.probabilities, int(died.size), int(died.sum())
        )
    return found


@dataclass(frozen=True)
class Heard:
    """Attention that tokens received while text was generated, and their retention at its end."""

    attention: Float[np.ndarray, " tokens"]  # mean weight a decoded token gave; kept tokens alone
    retention: Float[np.ndarray, " tokens"]
    correlation: float  # Spearman's; nan where there is nothing to rank


def heard(trace: Trace) -> dict[str, Heard]:
    """For each memory layer, of the tokens that it kept and that were read before the last 16."""
    retention = trace.retention()
    if retention is None:
        return {}
    read, found = int(trace.seen[-1]), {}
    decoded = np.flatnonzero(np.diff(trace.seen, prepend=0) == 1)
    for index, layer in enumerate(trace.layers):
        kept = trace.forgotten_at[index, :read] == 0
        kept[: trace.sinks] = False
        kept[max(read - trace.recent, 0) :] = False
        given = trace.received[index][decoded].mean(axis=0)[:read][kept]
        left = retention[index, -1, :read][kept]
        varied = len(given) > 2 and np.ptp(given) > 0 and np.ptp(left) > 0
        agreed = (
            float(np.corrcoef(rankdata(given), rankdata(left))[0, 1]) if varied else float("nan")
        )
        found[layer] = Heard(given, left, agreed)
    return found


def first_forgotten(trace: Trace, layer: int, count: int) -> list[tuple[int, int]]:
    """The tokens that died youngest in a layer: index, and age at death in tokens."""
    gone = trace.forgotten_at[layer]
    ages = {int(i): int(gone[i] - i - 1) for i in np.flatnonzero(gone)}
    return sorted(ages.items(), key=lambda it: (it[1], it[0]))[:count]


def summary(found: Mapping[Kind, Survival], age: float) -> list[tuple[Kind, Survival, float]]:
    """Kinds by the share that outlives ``age``, the first to be forgotten first."""
    return sorted(((kind, it, it.at(age)) for kind, it in found.items()), key=lambda it: it[2])
