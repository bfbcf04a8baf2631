"""Numbers in few bits: positive ones on a logarithmic scale, so that all are equally exact."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt


@dataclass(frozen=True)
class Scale:
    """Codes 1 .. ``levels`` stand for ``low`` .. ``high``, and 0 for what is not positive.

    A value is off by at most half a level: a factor of (high / low) ** (0.5 / (levels - 1)).
    """

    low: float
    high: float
    levels: int

    @classmethod
    def over(cls, values: Float[np.ndarray, "*shape"], levels: int, least: float = 0.0) -> Scale:
        """The scale that reaches from the smallest value above ``least`` to the largest."""
        positive = values[values > least]
        if not positive.size:
            return cls(1.0, 1.0, levels)
        return cls(float(positive.min()), float(positive.max()), levels)

    def encode(self, values: Float[np.ndarray, "*shape"]) -> UInt[np.ndarray, "*shape"]:
        """The nearest codes; values below ``low`` are 0.

        >>> Scale(1.0, 100.0, 255).encode(np.array([0.0, 1.0, 10.0, 100.0]))
        array([  0,   1, 128, 255], dtype=uint8)
        """
        kind = np.uint8 if self.levels <= 255 else np.uint16
        inside = values >= self.low * (1 - 1e-6)
        share = np.log(np.where(inside, values, self.low) / self.low) / self._width
        codes = np.where(inside, 1 + np.rint(share * (self.levels - 1)), 0)
        return np.minimum(codes, self.levels).astype(kind)

    def decode(self, codes: UInt[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """The values that ``codes`` stand for."""
        share = (codes.astype(np.float64) - 1) / (self.levels - 1)
        return np.where(codes > 0, self.low * np.exp(share * self._width), 0.0)

    @property
    def _width(self) -> float:
        return float(np.log(self.high / self.low)) or 1.0
