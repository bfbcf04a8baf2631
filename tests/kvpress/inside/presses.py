"""Presses of these tests, reached by their import path."""

from dataclasses import dataclass

import torch

from kvpress import BasePress, ScorerPress


@dataclass
class Narrow(ScorerPress):
    """Keeps one token, as a view of them all."""

    def compress(self, module, hidden_states, keys, values, attentions, kwargs):
        return keys[:, :, -1:], values[:, :, -1:]


@dataclass
class Hiding(BasePress):
    """Hides the first two tokens of every head."""

    compression_ratio: float = 0.0

    def compress(self, module, hidden_states, keys, values, attentions, kwargs):
        grid = torch.meshgrid(
            torch.arange(len(keys)), torch.arange(keys.shape[1]), torch.arange(2), indexing="ij"
        )
        module.masked_key_indices = tuple(it.flatten() for it in grid)
        return keys, values


class NoPress:
    pass
