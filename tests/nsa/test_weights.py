"""What can be seen of the weights: they are distributions, and they reproduce the outputs."""

import math

import pytest
import torch

from memollm.nsa import (
    compute_attention_weights_from_lse,
    get_attention_weights_summary,
    nsa_func,
)
from tests.nsa.inputs import gates, qkv

ROUNDING = dict(rtol=0, atol=2e-6)  # float32, of sums of size about 1
CASES = [  # shapes of the seed document, and one with a choice, groups, a rest and few queries
    (dict(batch=2, queries=128, heads=8, dim=64), dict(block_size=64, window_size=128)),
    (dict(batch=1, queries=256, heads=16, dim=64), dict(block_size=64, window_size=512)),
    (
        dict(batch=2, queries=50, heads=6, dim=16, tokens=91, kv_heads=2, value_dim=8),
        dict(block_size=8, block_counts=4, window_size=20),
    ),
]
BRANCHES = ["compression", "selection", "sliding_window"]


def arguments(branch, seen, settings):
    """What the weights of a branch are computed from, beside lse, q and k."""
    if branch == "selection":
        indices = seen["selection"]["block_indices"]
        return dict(block_indices=indices, block_size=settings["block_size"])
    if branch == "sliding_window":
        return dict(window_size=seen["sliding_window"]["window_size"])
    return dict(block_size=settings["block_size"])


@pytest.mark.parametrize("branch", BRANCHES)
@pytest.mark.parametrize(("shape", "settings"), CASES)
def test_weights_are_distributions_and_reproduce_the_output(shape, settings, branch):
    q, k, v = qkv(**shape)
    gate = [torch.ones_like(q[..., 0]) if name == branch else None for name in BRANCHES]
    output, seen = nsa_func(q, k, v, *gate, return_attn_weights=True, **settings)
    known = arguments(branch, seen, settings)
    lse = seen[branch]["lse"]
    weights = compute_attention_weights_from_lse(lse, q, k, **known, strict=True)
    assert weights.shape == (*lse.shape, k.shape[1]) and (weights >= 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(lse), **ROUNDING)
    strictly = compute_attention_weights_from_lse(lse, q, k, **known, empty_rows="zero")
    values = v.repeat_interleave(q.shape[2] // k.shape[2], dim=2)
    mixed = torch.einsum("bhmn,bnhd->bmhd", strictly, values)
    torch.testing.assert_close(mixed, output, **ROUNDING)


def test_a_query_before_the_first_complete_block_is_shown_as_asked():
    q, k, v = qkv(1, 9, 2, 8)
    seen = nsa_func(q, k, v, *gates(q), block_size=4, return_attn_weights=True)[1]
    lse = seen["compression"]["lse"]
    assert (lse[:, :, :3] == 0).all()
    uniform = compute_attention_weights_from_lse(lse, q, k, block_size=4)[0, 0, :3, :4]
    expected = torch.tensor([[1, 0, 0, 0], [1 / 2, 1 / 2, 0, 0], [1 / 3, 1 / 3, 1 / 3, 0]])
    torch.testing.assert_close(uniform, expected)
    zero = compute_attention_weights_from_lse(lse, q, k, block_size=4, empty_rows="zero")
    assert (zero[:, :, :3] == 0).all() and (zero[:, :, 3].sum(-1) > 0.99).all()


def test_a_constant_in_lse_changes_nothing_unless_it_is_to_be_found():
    q, k, v = qkv(1, 40, 2, 8)
    seen = nsa_func(q, k, v, *gates(q), block_size=4, block_counts=4, return_attn_weights=True)[1]
    lse, indices = (seen["selection"][name] for name in ("lse", "block_indices"))
    known = dict(block_indices=indices, block_size=4)
    right = compute_attention_weights_from_lse(lse, q, k, **known, strict=True)
    shifted = compute_attention_weights_from_lse(lse + 1, q, k, **known)
    torch.testing.assert_close(shifted, right, **ROUNDING)
    with pytest.raises(ValueError, match="lse is not the log-sum-exp"):
        compute_attention_weights_from_lse(lse + 1, q, k, **known, strict=True)


def test_repeated_and_missing_blocks_are_a_set():
    q, k, v = qkv(1, 20, 2, 8)
    lse = torch.zeros(1, 2, 20)
    some, same = torch.tensor([0, 2]), torch.tensor([2, -1, 0, 2])
    first, second = (
        compute_attention_weights_from_lse(
            lse, q, k, block_indices=i.expand(1, 20, 2, len(i)), block_size=4
        )
        for i in (some, same)
    )
    assert torch.equal(first, second)
    assert (first[..., 4:8] == 0).all() and (first[..., 12:] == 0).all()


def test_a_summary_is_of_finite_floats():
    q, k, v = qkv(1, 3, 2, 8)  # shorter than a block: nothing is compressed
    seen = nsa_func(q, k, v, *gates(q), return_attn_weights=True)[1]
    summary = get_attention_weights_summary(seen)
    assert set(summary) == {*BRANCHES, "gating_weights"}
    for numbers in summary.values():
        assert numbers and all(type(x) is float and math.isfinite(x) for x in numbers.values())
    assert summary["selection"]["blocks_mean"] == 1.0
    assert summary["sliding_window"]["window_size"] == 512.0
    lse = seen["selection"]["lse"]
    assert summary["selection"]["lse_max"] == pytest.approx(lse.max().item())
    assert summary["selection"]["lse_std"] == pytest.approx(lse.std(correction=0).item())


def test_what_is_returned_has_the_documented_keys_and_shapes():
    q, k, v = qkv(2, 128, 8, 64, kv_heads=4)
    g_cmp, g_slc, g_swa = gates(q)
    output, seen = nsa_func(
        q=q, k=k, v=v, g_cmp=g_cmp, g_slc=g_slc, g_swa=g_swa,
        block_count=16, block_size=64, window_size=128, return_attn_weights=True,
    )  # fmt: skip
    assert output.shape == (2, 128, 8, 64)
    for branch in ("compression", "selection"):
        assert seen[branch]["lse"].shape == (2, 8, 128)
        assert seen[branch]["block_indices"].shape == (2, 128, 4, 16)
    assert set(seen["sliding_window"]) == {"lse", "window_size", "note"}
    assert seen["gating_weights"] == {"g_cmp": g_cmp, "g_slc": g_slc, "g_swa": g_swa}
    without = nsa_func(q, k, v, g_cmp, g_slc, g_swa, window_size=128)
    assert isinstance(without, torch.Tensor) and torch.equal(without, output)


def test_branches_left_out_are_not_shown():
    q, k, v = qkv(1, 40, 2, 8)
    one = torch.ones_like(q[..., 0])
    seen = nsa_func(q, k, v, None, one, None, block_size=4, return_attn_weights=True)[1]
    assert set(seen) == {"selection", "gating_weights"}
    assert set(seen["gating_weights"]) == {"g_slc"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(lse=torch.zeros(1, 20, 2)), "lse must be"),
        (dict(empty_rows="nan"), "empty_rows must be one of"),
        (dict(window_size=3, block_indices=torch.zeros(1, 20, 2, 1).long()), "give one"),
    ],
)
def test_what_does_not_fit_is_refused(wrong, message):
    q, k, _ = qkv(1, 20, 2, 8)
    with pytest.raises(ValueError, match=message):
        compute_attention_weights_from_lse(**{"lse": torch.zeros(1, 2, 20), "q": q, "k": k} | wrong)
