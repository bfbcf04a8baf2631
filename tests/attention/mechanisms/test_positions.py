"""Positions that are right: shifts change nothing, and others' code agrees."""

import pytest
import torch
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from memollm.attention.positions.alibi import ALiBi
from memollm.attention.positions.rotary import Rotary
from memollm.attention.positions.xpos import XPos


def heads(dim=16):
    lots = torch.Generator().manual_seed(0)
    return torch.randn(2, 1, 3, 12, dim, generator=lots).unbind()


def scores(encoding, first):
    q, k = encoding.turned(*heads(), torch.arange(first, first + 12)[None])
    return q @ k.mT


@pytest.mark.parametrize("encoding", [Rotary(), XPos()])
def test_a_shift_of_all_positions_changes_no_score(encoding):
    # float32 products of 16 numbers of size 1; xPos multiplies and divides by up to e^2.5.
    torch.testing.assert_close(scores(encoding, 1000), scores(encoding, 0), rtol=1e-5, atol=6e-5)


def test_rotary_keeps_lengths():
    q, k = heads()
    for before, after in zip((q, k), Rotary().turned(q, k, torch.arange(12)[None]), strict=True):
        torch.testing.assert_close(after.norm(dim=-1), before.norm(dim=-1), rtol=1e-6, atol=0)


def test_rotary_is_llama_s():
    q, k = heads()
    angle = torch.arange(12)[:, None] * 10000.0 ** -(torch.arange(0, 16, 2) / 16)
    both = torch.cat([angle, angle], dim=-1)[None]
    wanted = apply_rotary_pos_emb(q, k, both.cos(), both.sin())
    for found, right in zip(Rotary().turned(q, k, torch.arange(12)[None]), wanted, strict=True):
        torch.testing.assert_close(found, right, rtol=0, atol=1e-5)


def test_far_positions_stay_apart_in_half_precision():
    q, k = (it.bfloat16() for it in heads())
    near, far = (
        Rotary().turned(q, k, torch.arange(first, first + 12)[None])[0] for first in (40000, 40001)
    )
    assert not torch.equal(near, far)


def test_xpos_is_rotary_that_fades_with_distance():
    turned, faded = scores(Rotary(), 0), scores(XPos(scale_base=8.0), 0)
    # With all planes of one wave, the ratio would be s^(n - m) exactly: here, of plane 0 alone.
    q = torch.zeros(1, 1, 12, 16)
    q[..., 0] = 1.0
    at = torch.arange(12)[None]
    left, right = XPos(scale_base=8.0).turned(q, q, at)
    plain, also = Rotary().turned(q, q, at)
    ago = at.T - at
    rate = (0.4 / 1.4) ** (1 / 8)
    torch.testing.assert_close((left @ right.mT)[0, 0], (plain @ also.mT)[0, 0] * rate**ago)
    assert not torch.equal(turned, faded)


def test_xpos_says_how_far_it_reaches():
    q, k = heads()
    with pytest.raises(ValueError, match=r"xpos reaches \d+ tokens with scale_base=512"):
        XPos().turned(q, k, torch.arange(100000, 100012)[None])


@pytest.mark.parametrize("number", [1, 2, 8, 12, 20])
def test_alibi_has_bloom_s_slopes(number):
    bloom = build_alibi_tensor(torch.ones(1, 5, dtype=torch.long), number, torch.float32)
    slopes = ALiBi().slopes(number)
    torch.testing.assert_close(slopes, bloom.view(number, 5)[:, 1])


@pytest.mark.parametrize("encoding", [Rotary(), XPos()])
def test_planes_need_an_even_number_of_dimensions(encoding):
    with pytest.raises(ValueError, match="head_dim must be even, got 5"):
        encoding.require(5, causal=True)


def test_xpos_needs_a_past():
    with pytest.raises(ValueError, match="xpos grows without bound"):
        XPos().require(8, causal=False)
