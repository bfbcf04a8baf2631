"""Attention in blocks is attention."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from memollm.reference.blocked import attend

EXACT = 1e-12  # double precision; another order of the same sums


@settings(max_examples=25, deadline=None)
@given(length=st.integers(1, 700), kv_heads=st.integers(1, 3), group=st.integers(1, 3))
def test_blocks_give_what_pytorch_gives_and_the_same_gradients(length, kv_heads, group):
    torch.manual_seed(length)
    shapes = ((2, kv_heads * group, length, 4), *[(2, kv_heads, length, 4)] * 2)
    inputs = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    ours = attend(nn.Identity(), *inputs, None, 0.3)[0].transpose(1, 2)
    theirs = F.scaled_dot_product_attention(*inputs, is_causal=True, scale=0.3, enable_gqa=True)
    torch.testing.assert_close(ours, theirs, atol=EXACT, rtol=0)
    weight = torch.randn_like(ours)
    for mine, other in zip(
        torch.autograd.grad((ours * weight).sum(), inputs),
        torch.autograd.grad((theirs * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(mine, other, atol=100 * EXACT, rtol=0)


def test_a_mask_is_refused():
    one = torch.zeros(1, 1, 2, 4)
    with pytest.raises(ValueError, match="neither masks nor dropout"):
        attend(nn.Identity(), one, one, one, torch.zeros(1, 1, 2, 2), 1.0)
