"""The picture has a panel for each head and branch, and shows the weights."""

import numpy as np
import pytest

from memollm.nsa import compute_attention_weights_from_lse, nsa_func
from memollm.nsa.picture import draw_attention_weights
from tests.nsa.inputs import gates, qkv


def seen(q, k, v, **leave_out):
    weighing = dict(zip(("g_cmp", "g_slc", "g_swa"), gates(q), strict=True)) | leave_out
    settings = dict(block_size=4, block_counts=4, window_size=6)
    return nsa_func(q, k, v, **weighing, **settings, return_attn_weights=True)[1]


def test_a_row_for_each_head_and_a_column_for_each_branch(tmp_path):
    q, k, v = qkv(2, 20, 4, 8, kv_heads=2)
    shown = seen(q, k, v)
    figure = draw_attention_weights(q, k, shown, batch=1, heads=[0, 3], block_size=4)
    panels = [axis for axis in figure.axes if axis.get_images() and axis.get_title()]
    assert [axis.get_title() for axis in panels] == [
        f"{branch}, head {head}"
        for head in (0, 3)
        for branch in ("compression", "selection", "sliding window")
    ]
    weights = compute_attention_weights_from_lse(
        shown["sliding_window"]["lse"], q, k, window_size=6
    )
    drawn = np.asarray(panels[5].get_images()[0].get_array())
    np.testing.assert_array_equal(drawn, weights[1, 3].numpy())
    figure.savefig(tmp_path / "weights.png")
    assert (tmp_path / "weights.png").stat().st_size > 0


def test_branches_left_out_have_no_column():
    q, k, v = qkv(1, 20, 2, 8)
    figure = draw_attention_weights(q, k, seen(q, k, v, g_cmp=None), block_size=4)
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert len(titles) == 4 and not any("compression" in title for title in titles)


def test_heads_that_are_not_there_are_refused():
    q, k, v = qkv(1, 20, 2, 8)
    with pytest.raises(ValueError, match="heads must be some of 0 to 1"):
        draw_attention_weights(q, k, seen(q, k, v), heads=[2], block_size=4)
