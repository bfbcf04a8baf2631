"""The ledger: what was known of each forgotten token when it was forgotten.

Eviction frees a token's slot; whoever wants to explain what was lost asks the ledger. It is kept
only on request, since it grows with every token seen.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Ledger:
    """Per token, by position: strength, last recall, and when it was forgotten (-1: it is not)."""

    def __init__(self) -> None:
        self.strength = torch.zeros(0, 0)
        self.recalled = torch.zeros(0, 0, dtype=torch.long)
        self.forgotten_at = torch.zeros(0, 0, dtype=torch.long)

    def note(
        self,
        forgotten: Bool[Tensor, "batch pairs"],
        position: Int[Tensor, "batch pairs"],
        strength: Float[Tensor, "batch pairs"],
        recalled: Int[Tensor, "batch pairs"],
        seen: Int[Tensor, " batch"],
    ) -> None:
        """Write down the tokens that are forgotten now."""
        self._reserve(len(seen), int(seen.max()))
        rows, slots = forgotten.nonzero(as_tuple=True)
        tokens = position[rows, slots].long().cpu()
        now = (seen[rows] - 1).long().cpu()
        rows = rows.cpu()
        self.strength[rows, tokens] = strength[forgotten].float().cpu()
        self.recalled[rows, tokens] = recalled[forgotten].long().cpu()
        self.forgotten_at[rows, tokens] = now

    def select_rows(self, rows: Int[Tensor, " rows"]) -> None:
        """Make ``rows`` of the batch the new batch."""
        if self.strength.numel():
            rows = rows.cpu()
            self.strength = self.strength[rows]
            self.recalled = self.recalled[rows]
            self.forgotten_at = self.forgotten_at[rows]

    def _reserve(self, batch: int, tokens: int) -> None:
        have = self.strength.shape[1]
        if tokens <= have and self.strength.shape[0] == batch:
            return
        size = max(tokens, int(1.5 * have))
        grown = [
            torch.zeros(batch, size),
            torch.zeros(batch, size, dtype=torch.long),
            torch.full((batch, size), -1),
        ]
        for new, old in zip(grown, (self.strength, self.recalled, self.forgotten_at), strict=True):
            if old.numel():
                new[:, :have] = old
        self.strength, self.recalled, self.forgotten_at = grown
