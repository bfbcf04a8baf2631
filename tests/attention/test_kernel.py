"""One block of attention against the formula written out."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memollm.attention.kernel import attend, head_mean
from memollm.attention.view import View

EXACT = 1e-12  # float64
LOW = 2e-2  # bfloat16: 8 bits of mantissa on outputs of size about 1


def written_out(q, k, v, view):
    """softmax(cap(q (w k)^T s) + b) (u v), head by head, with explicit repetition."""
    groups = q.shape[1] // k.shape[1]
    k, v = (t.repeat_interleave(groups, dim=1) for t in (k, v))
    ones = torch.ones(q.shape[0], k.shape[2], dtype=q.dtype)
    key_scale = ones if view.key_scale is None else view.key_scale
    value_scale = ones if view.value_scale is None else view.value_scale
    logits = q @ (k * key_scale[:, None, :, None]).transpose(2, 3) * view.scaling
    if view.softcap:
        logits = view.softcap * torch.tanh(logits / view.softcap)
    if view.bias is not None:
        logits = logits + view.bias[:, None, None]
    if view.hidden is not None:
        logits = logits.masked_fill(view.hidden[:, None, None], -torch.inf)
    if view.allowed is not None:
        logits = logits.masked_fill(~view.allowed, -torch.inf)
    count, pairs = logits.shape[2:]
    if view.causal_tail:
        future = torch.arange(pairs)[None] > torch.arange(pairs - count, pairs)[:, None]
        logits = logits.masked_fill(future, -torch.inf)
    if view.sink_logits is not None:
        sinks = view.sink_logits.to(q.dtype).view(1, -1, 1, 1).expand(*logits.shape[:3], 1)
        weights = torch.cat([logits, sinks], dim=-1).softmax(-1)[..., :-1]
    else:
        weights = logits.softmax(-1)
    return weights @ (v * value_scale[:, None, :, None]), weights


@given(
    batch=st.integers(1, 2), kv_heads=st.integers(1, 3), groups=st.integers(1, 3),
    count=st.integers(1, 5), older=st.integers(0, 6), seed=st.integers(0, 10**6), data=st.data(),
)  # fmt: skip
def test_every_part_of_a_view_acts_as_the_formula_says(
    batch, kv_heads, groups, count, older, seed, data
):
    torch.manual_seed(seed)
    pairs, heads = count + older, kv_heads * groups
    q = torch.randn(batch, heads, count, 4, dtype=torch.float64)
    k = torch.randn(batch, kv_heads, pairs, 4, dtype=torch.float64)
    v = torch.randn(batch, kv_heads, pairs, 3, dtype=torch.float64)  # value_dim differs (MLA)
    hidden = torch.rand(batch, pairs) < 0.3
    hidden[:, older:] = False
    parts = {
        "softcap": 3.0,
        "sink_logits": torch.randn(heads),
        "key_scale": torch.rand(batch, pairs, dtype=torch.float64),
        "value_scale": torch.rand(batch, pairs, dtype=torch.float64),
        "bias": -torch.rand(batch, pairs, dtype=torch.float64),
        "hidden": hidden,
        "causal_tail": True,
    }
    chosen = data.draw(st.sets(st.sampled_from(sorted(parts))))
    view = View(scaling=0.7, **{name: parts[name] for name in chosen})
    out, weights = attend(q, k, v, view)
    expected = written_out(q, k, v, view)
    torch.testing.assert_close(out, expected[0], rtol=0, atol=EXACT)
    torch.testing.assert_close(weights, expected[1], rtol=0, atol=EXACT)
    torch.testing.assert_close(head_mean(weights), expected[1].mean(1), rtol=0, atol=EXACT)


def test_an_explicit_mask_decides_who_sees_whom():
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 2, 4, 3, dtype=torch.float64) for _ in range(3))
    view = View(scaling=0.5, allowed=torch.rand(1, 1, 4, 4) < 0.7)
    out, expected = attend(q, k, v, view)[0], written_out(q, k, v, view)[0]
    torch.testing.assert_close(out, expected, rtol=0, atol=EXACT, equal_nan=True)


def test_slices_of_a_slab_are_read_in_place():
    slab = torch.randn(2, 3, 50, 4, dtype=torch.float64)
    k, q = slab[:, :, :20], torch.randn(2, 6, 1, 4, dtype=torch.float64)
    expected = attend(q, k.clone(), k.clone(), View(scaling=1.0))[0]
    assert torch.equal(attend(q, k, k, View(scaling=1.0))[0], expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_keeps_its_softmax_in_single(dtype):
    torch.manual_seed(1)
    q, k, v = (torch.randn(1, 2, 30, 8) for _ in range(3))
    view = View(scaling=8**-0.5, causal_tail=True)
    out, weights = attend(q.to(dtype), k.to(dtype), v.to(dtype), view)
    assert out.dtype == dtype and weights.dtype == torch.float32
    torch.testing.assert_close(out.float(), attend(q, k, v, view)[0], rtol=0, atol=LOW)
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, 2, 30))
