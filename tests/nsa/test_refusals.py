"""What cannot be computed is refused, with the argument, what it was and what it may be."""

import pytest
import torch

from memollm.nsa import nsa_func
from memollm.nsa.means import BlockMeans
from tests.nsa.inputs import gates, qkv

Q, K, V = qkv(1, 20, 4, 8, kv_heads=2)
G_CMP, G_SLC, G_SWA = gates(Q)
RIGHT = dict(q=Q, k=K, v=V, g_cmp=G_CMP, g_slc=G_SLC, g_swa=G_SWA)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(q=Q[0]), r"q must be of floats, \(batch, tokens, heads, dim\)"),
        (dict(q=Q.long()), "q must be of floats"),
        (dict(v=V[:, 1:]), "k and v must agree in batch, tokens and heads"),
        (dict(k=K[..., 1:]), "q and k must agree in their last dimension"),
        (dict(k=K.double()), "in dtype"),
        (dict(q=Q[:, :, 1:], g_cmp=None, g_slc=None), "multiple of those of k, got 3 and 2"),
        (dict(g_cmp=None, g_slc=None, g_swa=None), "are all None"),
        (dict(g_slc=G_SLC[..., 0]), r"g_slc must be \(batch, queries, heads\) = \(1, 20, 4\)"),
        (dict(k=K[:, 1:], v=V[:, 1:]), "got 20 queries and 19 keys"),
        (dict(block_size=0), "block_size must be an integer >= 1, got 0"),
        (dict(window_size=-1), "window_size must be an integer >= 0, got -1"),
        (dict(block_counts=0), "block_counts must be an integer >= 1, got 0"),
        (dict(block_counts=8, block_count=8), "give one of them"),
        (dict(block_counts=torch.full((1, 20, 2), -1)), "block_counts must be"),
        (dict(block_counts=torch.ones(1, 20, 4).long()), r"\(1, 20, 2\), got torch.int64"),
        (dict(block_indices=torch.zeros(1, 20, 2).long()), "block_indices must be integers"),
        (dict(means=BlockMeans(64)), "means must be of the 20 keys in blocks of 64"),
        (dict(backend="triton"), r"backend must be one of \['torch', 'fla'\], got 'triton'"),
        (dict(cu_seqlens=torch.tensor([0, 10])), "cu_seqlens must rise from 0 to the 20 tokens"),
        (dict(cu_seqlens=torch.tensor([0, 15, 12, 20])), "cu_seqlens must rise"),
        (
            dict(cu_seqlens=(torch.tensor([0, 20]), torch.tensor([0, 9, 20]))),
            "as many sequences for q as for k, got 1 and 2",
        ),
        (
            dict(cu_seqlens=(torch.tensor([0, 12, 20]), torch.tensor([0, 9, 20]))),
            "got 12 queries and 9 keys",
        ),
    ],
)
def test_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        nsa_func(**RIGHT | wrong)


def test_packed_sequences_lie_in_one_row():
    q, k, v = qkv(2, 20, 4, 8)
    with pytest.raises(ValueError, match="got a batch of 2"):
        nsa_func(q, k, v, *gates(q), cu_seqlens=torch.tensor([0, 20]))


def test_means_of_nothing_are_refused():
    with pytest.raises(ValueError, match="of no tokens yet"):
        _ = BlockMeans(4).keys
