"""Which blocks a query looks into: the highest scores, and three blocks whatever their scores.

Forced are the query's own block, the first one (an attention sink) and the one before its own, in
this order where fewer than three may be chosen (Yuan et al., 2025, arXiv:2502.11089, section 4.1,
and flash-linear-attention: one initial block and two local ones).
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

INDEX_BITS = 31
LAST = 2**INDEX_BITS - 1
# In place of the bits of a score, and above those of every float32 that is a number.
OWN, FIRST, PREVIOUS = 2**31 - 1, 2**31 - 2, 2**31 - 3


def chosen(
    scores: Float[Tensor, "batch kv_heads queries complete"],
    own: Int[Tensor, " queries"],
    selected: int,
) -> Int[Tensor, "batch kv_heads queries {selected}"]:
    """The blocks of each query, forced ones first, then by falling score, then -1.

    Equal scores (in float32) go to the lower block, so that the same input always chooses the same
    blocks: score and index are one integer, of which no two are equal.

    Args:
        scores: of the blocks that are complete at the last query, >= 0; what they say of the
            future of another query is not looked at.
        own: the block in which each query lies; the queries are neighbours.
        selected: blocks to choose, >= 1.
    """
    least, blocks = int(own[0]), int(own[-1]) + 1
    tie = LAST - torch.arange(blocks, device=scores.device)
    ranks = tie.expand(*scores.shape[:3], blocks).clone()
    # The bits of floats >= 0 are in the order of the floats.
    bits = scores.float().contiguous().view(torch.int32).long()
    ranks[..., : scores.shape[3]] += bits.bitwise_left_shift_(INDEX_BITS)
    for forced, rank in (((own - 1).clamp(min=0), PREVIOUS), (0 * own, FIRST), (own, OWN)):
        value = (rank << INDEX_BITS) + tie[forced]
        place = forced.view(1, 1, -1, 1).expand(*scores.shape[:3], 1)
        ranks.scatter_(3, place, value.view(1, 1, -1, 1).expand_as(place))
    if least + 1 < blocks:
        future = torch.arange(least + 1, blocks, device=scores.device) > own[:, None]
        ranks[..., least + 1 :].masked_fill_(future, -1)
    best, blocks_chosen = ranks.topk(min(selected, blocks), dim=-1)
    blocks_chosen.masked_fill_(best < 0, -1)
    missing = selected - blocks_chosen.shape[-1]
    return torch.nn.functional.pad(blocks_chosen, (0, missing), value=-1)


def limited(
    indices: Int[Tensor, "batch queries kv_heads selected"],
    counts: Int[Tensor, "batch queries kv_heads"],
) -> Int[Tensor, "batch queries kv_heads selected"]:
    """The first ``counts`` of the chosen blocks of each query; -1 in place of the others."""
    place = torch.arange(indices.shape[-1], device=indices.device)
    return indices.masked_fill(place >= counts[..., None], -1)


def distinct(
    indices: Int[Tensor, "batch queries kv_heads selected"],
) -> Int[Tensor, "batch queries kv_heads selected"]:
    """The same sets in rising order; -1 in place of repetitions.

    >>> distinct(torch.tensor([[[[3, 0, 3, -1]]]]))
    tensor([[[[-1,  0,  3, -1]]]])
    """
    rising = indices.sort(dim=-1).values
    repeated = torch.nn.functional.pad(rising[..., 1:] == rising[..., :-1], (1, 0))
    return rising.masked_fill(repeated, -1)
