"""The calls by which ``nsa_func`` and its helpers were given, imports and device apart."""

import pytest
import torch
from matplotlib.figure import Figure

from memollm.nsa import (
    compute_attention_weights_from_lse,
    get_attention_weights_summary,
    nsa_func,
)


def inputs(batch, tokens, heads, dim, kv_heads):
    torch.manual_seed(0)
    q = torch.randn(batch, tokens, heads, dim)
    k = torch.randn(batch, tokens, kv_heads, dim)
    v = torch.randn(batch, tokens, kv_heads, dim)
    gates = {
        name: torch.softmax(torch.randn(batch, tokens, heads), dim=-1)
        for name in ("g_cmp", "g_slc", "g_swa")
    }
    return {"q": q, "k": k, "v": v, **gates}


@pytest.mark.parametrize("counts", ["block_count", "block_counts"])
def test_weights_are_returned_summed_up_written_out_and_drawn(counts, tmp_path):
    given = inputs(2, 128, 8, 64, 8)
    settings = {counts: 16, "block_size": 64, "window_size": 128}
    output, weights = nsa_func(**given, **settings, return_attn_weights=True)
    assert output.shape == (2, 128, 8, 64)

    for stats in get_attention_weights_summary(weights).values():
        for value in stats.values():
            assert float(f"{value:.4f}") == pytest.approx(value, abs=1e-4)

    q, k = given["q"], given["k"]
    of_blocks = compute_attention_weights_from_lse(
        lse=weights["compression"]["lse"], q=q, k=k, block_size=64
    )
    chosen = compute_attention_weights_from_lse(
        lse=weights["selection"]["lse"], q=q, k=k,
        block_indices=weights["selection"]["block_indices"], block_size=64,
    )  # fmt: skip
    for found in (of_blocks, chosen):
        assert found.shape == (2, 8, 128, 128)
        assert f"{found.sum(dim=-1).mean():.4f}" == "1.0000"

    figure = Figure()
    figure.subplots().imshow(of_blocks[0, 0].detach().numpy(), cmap="viridis", aspect="auto")
    figure.savefig(tmp_path / "weights.png")


def test_with_and_without_weights_the_outputs_are_the_same():
    given = inputs(1, 256, 16, 64, 16)
    plain = nsa_func(**given, block_count=16, block_size=64)
    output, _ = nsa_func(**given, block_count=16, block_size=64, return_attn_weights=True)
    torch.testing.assert_close(output, plain, rtol=0, atol=2e-6)
