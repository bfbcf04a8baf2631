"""nsa_func against its definition: outputs, log-sum-exps, chosen blocks, gradients."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memollm.nsa import nsa_func
from tests.nsa import definition
from tests.nsa.inputs import gates, qkv

EXACT = 1e-12  # float64: sums in another order
OUTPUT = 2e-6  # float32, of values of size about 1
GRADIENT = 2e-5  # float32: sums of up to as many such values as there are queries

SEED_SHAPES = [  # (batch, tokens, heads, dim, key-value heads), block size, blocks, window
    ((2, 128, 8, 64, 8), 64, 16, 128),  # as in the document: all blocks are chosen
    ((1, 256, 16, 64, 16), 64, 16, 512),
    ((2, 128, 8, 64, 8), 16, 4, 32),  # the same with a choice to make
    ((1, 256, 16, 64, 1), 16, 5, 64),
]


def branches(q, k, v, block_size, counts, size, scale):
    cmp, cmp_lse, weights = definition.compression(q, k, v, block_size, scale)
    shape = (k.shape[2], q.shape[1], k.shape[1], block_size, counts)
    sets = definition.choice(weights.detach(), *shape)
    slc, slc_lse, _ = definition.selection(q, k, v, sets, block_size, scale)
    swa, swa_lse, _ = definition.window(q, k, v, size, scale)
    return (cmp, slc, swa), (cmp_lse, slc_lse, swa_lse), sets


def check(q, k, v, block_size, counts, size, output, gradient, scale=None):
    for tensor in (q, k, v):
        tensor.requires_grad_()
    weighing = [gate.requires_grad_() for gate in gates(q)]
    got, seen = nsa_func(
        q, k, v, *weighing, block_size=block_size, block_counts=counts, window_size=size,
        scale=scale, return_attn_weights=True,
    )  # fmt: skip
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    outputs, sums, sets = branches(q, k, v, block_size, counts, size, scale)
    expected = sum(g[..., None] * o for g, o in zip(weighing, outputs, strict=True))
    close = dict(rtol=0, atol=output)
    torch.testing.assert_close(got, expected, **close)
    assert definition.as_sets(seen["selection"]["block_indices"]) == sets
    for name, lse in zip(("compression", "selection", "sliding_window"), sums, strict=True):
        torch.testing.assert_close(seen[name]["lse"], lse, rtol=output, atol=output)
    weight = torch.randn(got.shape, generator=torch.Generator().manual_seed(1), dtype=got.dtype)
    inputs = (q, k, v, *weighing)
    for mine, theirs in zip(
        torch.autograd.grad((got * weight).sum(), inputs),
        torch.autograd.grad((expected * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=gradient)


@given(
    batch=st.integers(1, 2), kv_heads=st.integers(1, 2), group=st.integers(1, 3),
    queries=st.integers(1, 40), older=st.integers(0, 20), dim=st.sampled_from([3, 8]),
    value_dim=st.sampled_from([5, 8]), block_size=st.sampled_from([1, 3, 4, 16, 64]),
    counts=st.integers(1, 6), size=st.integers(0, 70), seed=st.integers(0, 10**6),
)  # fmt: skip
def test_any_shape_agrees_with_the_definition(
    batch, kv_heads, group, queries, older, dim, value_dim, block_size, counts, size, seed
):
    q, k, v = qkv(
        batch, queries, kv_heads * group, dim, tokens=queries + older, kv_heads=kv_heads,
        value_dim=value_dim, seed=seed, dtype=torch.float64,
    )  # fmt: skip
    check(q, k, v, block_size, counts, size, EXACT, EXACT, scale=0.3)


@pytest.mark.parametrize(("shape", "block_size", "counts", "size"), SEED_SHAPES)
def test_float32_stays_within_rounding_of_the_definition(shape, block_size, counts, size):
    *query_shape, kv_heads = shape
    q, k, v = qkv(*query_shape, kv_heads=kv_heads)
    check(q, k, v, block_size, counts, size, OUTPUT, GRADIENT)


@pytest.mark.parametrize("few", [2, 9])  # gathered, then block after block
def test_gradients_are_those_of_finite_differences(few):
    q, k, v = qkv(1, few, 2, 3, tokens=9, kv_heads=1, value_dim=2, dtype=torch.float64)
    inputs = [t.requires_grad_() for t in (q, k, v, *gates(q))]
    settings = dict(block_size=2, block_counts=3, window_size=3)
    assert torch.autograd.gradcheck(
        lambda *args: nsa_func(*args, **settings), inputs, fast_mode=True
    )
