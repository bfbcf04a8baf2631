"""From a configuration to an attention layer."""

from __future__ import annotations

from memollm.attention.config import AttentionConfig
from memollm.attention.layer import AttentionLayer


class AttentionFactory:
    """Makes attention layers."""

    @staticmethod
    def create_attention(config: AttentionConfig) -> AttentionLayer:
        """A new layer.

        >>> import torch
        >>> layer = AttentionFactory.create_attention(AttentionConfig("flash", d_model=64))
        >>> layer(torch.zeros(2, 10, 64)).shape
        torch.Size([2, 10, 64])

        Raises:
            ValueError: for a configuration that cannot be honoured.
        """
        return AttentionLayer(config)
