"""A transformer block around any attention."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor, nn

from memollm.attention.config import AttentionConfig
from memollm.attention.layer import AttentionLayer, Hidden
from memollm.attention.mechanisms.cache import Cache


class TransformerBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)).

    Normalised before each part (Xiong et al., 2020, arXiv:2002.04745). Blocks of different
    configurations of one width make a model that mixes mechanisms by layer.

    >>> import torch
    >>> configs = [AttentionConfig("local", d_model=64, window_size=4), AttentionConfig("full", 64)]
    >>> blocks = nn.Sequential(*(TransformerBlock(config) for config in configs))
    >>> blocks(torch.zeros(1, 10, 64)).shape
    torch.Size([1, 10, 64])
    """

    def __init__(self, config: AttentionConfig) -> None:
        """Build the block.

        Raises:
            ValueError: for a configuration that cannot be honoured.
        """
        super().__init__()
        width, inner = config.d_model, config.d_ff or 4 * config.d_model
        self.attention_norm = nn.LayerNorm(width)
        self.attention = AttentionLayer(config)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width), nn.Dropout(config.dropout)
        )

    def forward(
        self,
        hidden: Hidden,
        mask: Bool[Tensor, "*lead queries keys"] | None = None,
        *,
        context: Float[Tensor, "batch others width"] | None = None,
        padding: Bool[Tensor, "batch keys"] | None = None,
        cache: Cache | None = None,
    ) -> Hidden:
        """Hidden states after the block; arguments as those of ``AttentionLayer``."""
        normal = self.attention_norm(hidden)
        hidden = hidden + self.attention(
            normal, mask, context=context, padding=padding, cache=cache
        )
        return hidden + self.mlp(self.mlp_norm(hidden))
