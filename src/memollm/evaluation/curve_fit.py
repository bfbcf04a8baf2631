"""Fitting forgetting curves to what context is worth: amplitude, time scale, decay.

The benefit of the context older than t tokens, B(t), is what a prediction loses when that is gone.
Fitted is B(t) = A mean_c (R(t) - R(c))+, where R is a retention curve over tokens and c runs over
the lengths that the full context of the scored tokens has: a loss can only be measured against a
context that ends somewhere. As contexts grow B(t) becomes A R(t), so that R says which share of
the benefit lies beyond t.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

Ages: TypeAlias = Any  # tokens, a number or an array of them
Curve = Callable[..., Ages]  # ages, time scale[, decay] -> R
# Time scales looked for: from one token, under which no age lies, to so many of the longest ages.
SPAN = 1e4


def exponential(age: Ages, scale: float) -> Ages:
    """R = exp(-t / scale), the curve ``retention=exponential``."""
    return np.exp(-age / scale)


def power_law(age: Ages, scale: float, decay: float) -> Ages:
    """R = (1 + t / scale) ** -decay, the curve ``retention=power_law``."""
    return (1 + age / scale) ** -decay


FAMILIES: dict[str, Curve] = {"exponential": exponential, "power_law": power_law}


@dataclass(frozen=True)
class Fit:
    """A fitted curve. ``benefit`` is A; ``decay`` is None for the exponential."""

    benefit: float
    scale: float  # tokens
    decay: float | None
    r2: float  # 1 - sum of squared residuals / of squared deviations from the mean


def predict(
    curve: Curve, benefit: float, shape: np.ndarray, ages: np.ndarray, contexts: np.ndarray
) -> np.ndarray:
    """B at each age."""
    left = curve(ages, *shape)[:, None] - curve(contexts, *shape)[None]
    return benefit * left.clip(min=0).mean(axis=1)


def fit(family: str, ages: Sequence[int], lost: Sequence[float], contexts: Sequence[int]) -> Fit:
    """Least squares, every age alike.

    A time scale at the edge of what is looked for (one token, 10^4 of the longest age) says that
    these ages do not determine it.

    Args:
        family: a key of FAMILIES.
        ages: t, tokens.
        lost: B(t), nats a token.
        contexts: the lengths c, tokens.

    Raises:
        ValueError: if there are fewer ages than numbers to fit.
    """
    from scipy.optimize import least_squares  # slow to import, and needed here alone

    t, b, c = (np.asarray(it, dtype=float) for it in (ages, lost, contexts))
    curve, free = FAMILIES[family], 2 if family == "exponential" else 3
    if len(t) < free:
        raise ValueError(f"{len(t)} ages are too few to fit a curve of {free} numbers ({family})")

    def amplitude(shape: np.ndarray) -> float:
        unit = predict(curve, 1.0, shape, t, c)
        return float(unit @ b / max(unit @ unit, 1e-300))  # the best A is linear in B

    def residuals(logs: np.ndarray) -> np.ndarray:
        shape = np.exp(logs)
        return predict(curve, amplitude(shape), shape, t, c) - b

    bounds = np.log([[1.0, SPAN * t.max()], [0.01, 100.0]][: free - 1]).T
    starts = [[scale, 1.0][: free - 1] for scale in np.geomspace(t.min(), 10 * t.max(), 4)]
    found = [least_squares(residuals, np.log(it), bounds=bounds, xtol=1e-12) for it in starts]
    best = min(found, key=lambda it: it.cost)
    shape = np.exp(best.x)
    spread = float(((b - b.mean()) ** 2).sum())
    r2 = 1 - 2 * best.cost / spread if spread else float("nan")
    return Fit(amplitude(shape), shape[0], shape[1] if free == 3 else None, r2)
