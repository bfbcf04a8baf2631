"""Attention without weights, by whichever kernel: against the one with weights, in float64."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memollm.attention.kernel import attend
from memollm.attention.plain import attend_plainly, query_block
from memollm.attention.view import View

BOUNDS = {  # of outputs of size about 1
    torch.float64: 1e-12,
    torch.float32: 1e-5,
    torch.bfloat16: 2e-2,  # 8 bits of mantissa
}


@pytest.mark.parametrize("dtype", BOUNDS, ids=str)
@given(
    batch=st.integers(1, 2), kv_heads=st.integers(1, 2), groups=st.integers(1, 3),
    count=st.integers(1, 80), older=st.sampled_from([0, 1, 600]), seed=st.integers(0, 10**6),
)  # fmt: skip
def test_every_kernel_agrees_with_the_one_that_gives_weights(
    dtype, batch, kv_heads, groups, count, older, seed
):
    torch.manual_seed(seed)
    pairs, heads = count + older, groups * kv_heads
    slab = torch.randn(2, batch, kv_heads, pairs + 9, 8, dtype=torch.float64)
    queries = torch.randn(batch, heads, count, 8, dtype=torch.float64)
    view = View(scaling=0.3, causal_tail=True)
    expected, _ = attend(queries, *slab[:, :, :, :pairs], view)
    keys, values = slab.to(dtype)[:, :, :, :pairs]
    out = attend_plainly(queries.to(dtype), keys, values, 0.3)
    assert out.dtype == dtype
    torch.testing.assert_close(out.double(), expected, rtol=0, atol=BOUNDS[dtype])


def test_long_slices_in_half_precision_go_head_by_head_and_agree():
    torch.manual_seed(0)
    slab = torch.randn(2, 1, 2, 9000, 8, dtype=torch.float64)
    queries = torch.randn(1, 4, 1, 8, dtype=torch.float64)
    for count in (400, 600, 8500):
        keys, values = slab[:, :, :, :count]
        expected, _ = attend(queries, keys, values, View(scaling=0.3))
        half = (it.bfloat16() for it in (queries, *slab))
        asking, keys, values = half
        out, _ = attend(asking, keys[:, :, :count], values[:, :, :count], View(scaling=0.3))
        torch.testing.assert_close(out.double(), expected, rtol=0, atol=2e-2)


def test_blocks_shrink_as_pairs_grow():
    sizes = [query_block(14 * pairs) for pairs in (1, 1000, 10**4, 10**5)]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > sizes[-1] >= 1
