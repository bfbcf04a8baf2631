"""Which blocks are selected: how many, which always, and which of equals."""

import pytest
import torch

from memollm.nsa import nsa_func
from tests.nsa.definition import as_sets
from tests.nsa.inputs import gates, qkv


def chosen(q, k, v, counts, block_size=4):
    settings = dict(block_size=block_size, window_size=8, return_attn_weights=True)
    seen = nsa_func(q, k, v, *gates(q), block_counts=counts, **settings)[1]
    return seen["selection"]["block_indices"]


@pytest.mark.parametrize("counts", [1, 3, 5, 12, 16])
def test_exactly_as_many_blocks_as_asked_for_once_there_are_so_many(counts):
    q, k, v = qkv(1, 80, 4, 8, kv_heads=2)
    indices = chosen(q, k, v, counts)
    assert indices.shape == (1, 80, 2, counts)
    there = torch.arange(80) // 4 + 1
    assert ((indices >= 0).sum(-1) == there.clamp(max=counts)[:, None]).all()
    assert all(len(heads) == len(set(heads) | {-1}) - 1 for m in as_sets(indices)[0] for heads in m)


@pytest.mark.parametrize(("counts", "forced"), [(1, {7}), (2, {0, 7}), (3, {0, 6, 7})])
def test_forced_blocks_come_first(counts, forced):
    q, k, v = qkv(1, 31, 2, 8)
    assert as_sets(chosen(q, k, v, counts))[0][30] == [forced, forced]


def test_of_equal_blocks_the_lower_ones_are_taken():
    q, k, v = qkv(1, 80, 2, 8)
    k = k[:, :1].expand_as(k)
    assert as_sets(chosen(q, k, v, 6))[0][79] == [{0, 1, 2, 3, 18, 19}] * 2


def test_the_highest_score_of_the_group_decides():
    q, k, v = (torch.zeros(1, 40, 2, 4) for _ in range(3))
    k, v = k[:, :, :1].clone(), v[:, :, :1]
    k[:, 12:16, :, 0], k[:, 20:24, :, 1] = 1.0, 1.0  # blocks 3 and 5
    q[:, :, 0, 0], q[:, :, 1, 1] = 3.0, 5.0  # one head looks for the one, one for the other
    assert as_sets(chosen(q, k, v, 4))[0][39] == [{0, 5, 8, 9}]
    assert as_sets(chosen(q, k, v, 5))[0][39] == [{0, 3, 5, 8, 9}]


def test_every_query_may_have_its_own_number_of_blocks():
    q, k, v = qkv(1, 60, 4, 8, kv_heads=2)
    counts = torch.randint(0, 6, (1, 60, 2), generator=torch.Generator().manual_seed(0))
    indices = chosen(q, k, v, counts)
    there = (torch.arange(60) // 4 + 1)[:, None]
    assert torch.equal((indices >= 0).sum(-1)[0], torch.minimum(counts[0], there))
    one = torch.ones_like(q[..., 0])
    got = nsa_func(q, k, v, None, one, None, block_size=4, block_counts=counts)
    same = nsa_func(q, k, v, None, one, None, block_size=4, block_indices=indices)
    assert torch.equal(got, same)


def test_counts_above_the_number_of_blocks_may_come_as_a_tensor():
    q, k, v = qkv(1, 20, 2, 8)
    one = torch.ones_like(q[..., 0])
    many = torch.full((1, 20, 2), 99)
    got = nsa_func(q, k, v, None, one, None, block_size=4, block_counts=many)
    torch.testing.assert_close(
        got, nsa_func(q, k, v, None, one, None, block_size=4, block_counts=5), rtol=0, atol=1e-6
    )
