"""Block means: a block of tokens in short, by the mean of its keys and of its values.

Only complete blocks are ever looked at through their means, so that the mean of a block does not
change once it exists: a cache keeps the means of what it holds, and a decoding step reads
1 / block_size of the keys instead of all of them.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from memollm.nsa.layout import Keys, Values, wide

Means = Float[Tensor, "batch blocks kv_heads dim"]


def block_means(
    tokens: Float[Tensor, "batch tokens kv_heads dim"], block_size: int
) -> Float[Tensor, "batch blocks kv_heads dim"]:
    """The mean of each of the ``tokens // block_size`` complete blocks, in float32 at least.

    >>> block_means(torch.tensor([1.0, 3.0, 5.0, 7.0, 9.0]).view(1, 5, 1, 1), 2).flatten()
    tensor([2., 6.])
    """
    blocks = tokens.shape[1] // block_size
    complete = tokens[:, : blocks * block_size].unflatten(1, (blocks, block_size))
    return complete.mean(2, dtype=wide(tokens.dtype))


class BlockMeans:
    """The means of the complete blocks of a cache that grows by ``append``.

    >>> means = BlockMeans(block_size=2)
    >>> for token in torch.arange(5.0):
    ...     means.append(token.view(1, 1, 1, 1), token.view(1, 1, 1, 1))
    >>> means.tokens, means.keys.flatten()
    (5, tensor([0.5000, 2.5000]))
    """

    def __init__(self, block_size: int) -> None:
        if block_size < 1:
            raise ValueError(f"block_size must be >= 1, got {block_size}")
        self.block_size = block_size
        self.tokens = 0  # appended so far
        self._means: tuple[Tensor, Tensor] | None = None
        self._rest: tuple[Tensor, Tensor] | None = None  # tokens of the block that is not complete

    @property
    def keys(self) -> Float[Tensor, "batch blocks kv_heads dim"]:
        return self._held()[0]

    @property
    def values(self) -> Float[Tensor, "batch blocks kv_heads value_dim"]:
        return self._held()[1]

    def append(self, keys: Keys, values: Values) -> None:
        """Take in the next tokens."""
        self.tokens += keys.shape[1]
        if self._rest is not None:
            keys = torch.cat([self._rest[0], keys], dim=1)
            values = torch.cat([self._rest[1], values], dim=1)
        new = block_means(keys, self.block_size), block_means(values, self.block_size)
        done = new[0].shape[1] * self.block_size
        # A copy, since a view would keep alive all that was appended with it.
        self._rest = keys[:, done:].clone(), values[:, done:].clone()
        if self._means is None:
            self._means = new
        elif done:
            self._means = (
                torch.cat([self._means[0], new[0]], dim=1),
                torch.cat([self._means[1], new[1]], dim=1),
            )

    def _held(self) -> tuple[Tensor, Tensor]:
        if self._means is None:
            raise ValueError("these block means are of no tokens yet: append some first")
        return self._means
