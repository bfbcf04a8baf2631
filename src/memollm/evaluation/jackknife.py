"""The delete-one jackknife: how far an estimate moves when one cluster is left out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

Cluster = TypeVar("Cluster")


def jackknife(
    estimate: Callable[[Sequence[Cluster]], Mapping[str, float]], clusters: Sequence[Cluster]
) -> dict[str, tuple[float, float | None]]:
    """Each of the estimates on all ``clusters``, and its standard error; of one cluster, none.

    The error is sqrt((n - 1) / n * sum (e_i - mean e)^2) over the estimates e_i without cluster i
    (Efron & Tibshirani, An Introduction to the Bootstrap, 1993, section 11.2). Of a mean it is the
    usual one:

    >>> jackknife(lambda values: {"mean": sum(values) / len(values)}, [0.0, 1.0, 1.0, 0.0])
    {'mean': (0.5, 0.28867513459481287)}
    """
    whole, n = estimate(clusters), len(clusters)
    if n == 1:
        return {name: (value, None) for name, value in whole.items()}
    without = [estimate([*clusters[:i], *clusters[i + 1 :]]) for i in range(n)]
    found = {}
    for name, value in whole.items():
        values = [it[name] for it in without]
        centre = math.fsum(values) / n
        squares = math.fsum((it - centre) ** 2 for it in values)
        found[name] = (value, math.sqrt(squares * (n - 1) / n))
    return found
