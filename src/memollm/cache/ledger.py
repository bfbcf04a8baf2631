"""The ledger: what was known of each forgotten token when it was forgotten.

Eviction frees a token's slot; whoever wants to explain what was lost asks the ledger. It is kept
only on request, since it grows with every token seen.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Int
from torch import Tensor


class Ledger:
    """Per token, by position: when it was forgotten (-1: it is not), and its state then."""

    def __init__(self) -> None:
        self.forgotten_at = torch.zeros(0, 0, dtype=torch.long)  # position of the query after which
        self.state: dict[str, Tensor] = {}  # (batch, tokens) each, by column

    def note(
        self,
        forgotten: Bool[Tensor, "batch pairs"],
        position: Int[Tensor, "batch pairs"],
        seen: Int[Tensor, " batch"],
        state: Mapping[str, Tensor],
    ) -> None:
        """Write down the tokens that are forgotten now, with their columns (batch, pairs)."""
        self._reserve(len(seen), int(seen.max()), state)
        rows, slots = forgotten.nonzero(as_tuple=True)
        tokens = position[rows, slots].long().cpu()
        now = (seen[rows] - 1).long().cpu()
        rows = rows.cpu()
        self.forgotten_at[rows, tokens] = now
        for name, column in state.items():
            self.state[name][rows, tokens] = column[forgotten].cpu()

    def last_forgotten_at(self, rows: int) -> Int[Tensor, " tokens"]:
        """When the last of the first ``rows`` forgot each token; -1: one of them has not."""
        noted = self.forgotten_at[:rows]
        if not noted.numel():
            return torch.zeros(0, dtype=torch.long)
        return torch.where((noted < 0).any(dim=0), -1, noted.amax(dim=0))

    def select_rows(self, rows: Int[Tensor, " rows"]) -> None:
        """Make ``rows`` of the batch the new batch."""
        if self.forgotten_at.numel():
            rows = rows.cpu()
            self.forgotten_at = self.forgotten_at[rows]
            self.state = {name: column[rows] for name, column in self.state.items()}

    def _reserve(self, batch: int, tokens: int, state: Mapping[str, Tensor]) -> None:
        have = self.forgotten_at.shape[1]
        if tokens <= have and self.forgotten_at.shape[0] == batch:
            return
        size = max(tokens, int(1.5 * have))
        grown = torch.full((batch, size), -1)
        columns = {name: torch.zeros(batch, size, dtype=it.dtype) for name, it in state.items()}
        if have:
            grown[:, :have] = self.forgotten_at
            for name, column in self.state.items():
                columns[name][:, :have] = column
        self.forgotten_at, self.state = grown, columns
