"""Layers, blocks and their configuration."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import memollm
from memollm.attention import AttentionConfig, AttentionFactory, TransformerBlock
from memollm.attention.config import attention_types
from memollm.registry import groups

EXACT = {"rtol": 0, "atol": 1e-10}  # float64
SMALL = {"d_model": 16, "n_heads": 4, "dropout": 0.0}


def layer(name="full", **settings):
    torch.manual_seed(0)
    return AttentionFactory.create_attention(AttentionConfig(name, **SMALL | settings)).double()


def text(tokens=13, batch=2):
    lots = torch.Generator().manual_seed(0)
    return torch.randn(batch, tokens, 16, generator=lots, dtype=torch.float64)


@pytest.mark.parametrize("encoding", ["rope", "xpos", "alibi"])
@pytest.mark.parametrize("name", ["full", "gqa", "local", "flash", "linear", "nsa"])
def test_a_layer_read_in_parts_is_the_layer_at_once(name, encoding):
    if encoding == "alibi" and not groups()["mechanism"][name].supports.slopes:
        with pytest.raises(ValueError, match=f"{name} does not support ALiBi"):
            layer(name, causal=True, position_encoding=encoding)
        return
    ours, x = layer(name, causal=True, position_encoding=encoding), text()
    cache = ours.cache()
    parts = [ours(it, cache=cache) for it in x.split([6, 1, 1, 5], 1)]
    torch.testing.assert_close(torch.cat(parts, 1), ours(x), **EXACT)


@pytest.mark.parametrize("encoding", [None, "rope", "xpos", "alibi"])
def test_a_padded_row_is_the_row_alone(encoding):
    ours, x = layer(causal=True, position_encoding=encoding), text()
    real = torch.ones(2, 13, dtype=torch.bool)
    real[1, :4] = False
    together = ours(x, padding=real)
    torch.testing.assert_close(together[:1], ours(x[:1]), **EXACT)
    torch.testing.assert_close(together[1:, 4:], ours(x[1:, 4:]), **EXACT)


def test_masks_may_have_two_three_or_four_dimensions():
    x, mask = text(), torch.rand(13, 13) < 0.5
    for name in ("full", "gqa", "local", "flash"):
        ours = layer(name)
        wanted = ours(x, mask)
        for shaped in (mask.expand(2, 13, 13), mask.expand(2, 4, 13, 13)):
            torch.testing.assert_close(ours(x, shaped), wanted, **EXACT)


@pytest.mark.parametrize("name", attention_types())
def test_a_block_hands_on_its_mask_or_refuses_it(name):
    if name == "cross":
        return
    torch.manual_seed(0)
    config = AttentionConfig(name, **SMALL)
    block, x = TransformerBlock(config).double(), text()
    lone = torch.eye(13, dtype=torch.bool)
    if not groups()["mechanism"][name].supports.mask:
        with pytest.raises(ValueError, match=f"mechanism={name} does not support a custom mask"):
            block(x, lone)
        return
    y = x.clone()
    y[:, 5] += 1.0
    changed = (block(x, lone) != block(y, lone)).any(-1)
    assert changed[:, 5].all() and changed.sum() == 2  # each token sees itself alone


def test_attention_to_another_sequence():
    ours, x, other = layer("cross"), text(5), text(9)
    assert ours(x, context=other).shape == x.shape
    with pytest.raises(ValueError, match="cross does not support"):
        ours(x)
    with pytest.raises(ValueError, match="not with context"):
        layer("full", position_encoding="rope")(x, context=other)
    with pytest.raises(ValueError, match="self does not support cross attention"):
        layer("self")(x, context=other)


@pytest.mark.parametrize("name", ["linformer", "learnable", "nsa", "local"])
def test_weights_survive_saving(name):
    ours, x = layer(name), text()
    other = AttentionFactory.create_attention(AttentionConfig(name, **SMALL)).double()
    assert not torch.equal(other(x), ours(x))
    other.load_state_dict(ours.state_dict())
    assert torch.equal(other(x), ours(x))


def test_dropout_is_of_training_alone():
    ours, x = layer(dropout=0.5), text()
    assert (ours(x) == 0).any()
    ours.eval()
    assert torch.equal(ours(x), ours(x)) and not (ours(x) == 0).any()


COMPILED = """
import torch
from memollm.attention import AttentionConfig, AttentionFactory
for name in ("full", "local", "linear"):
    config = AttentionConfig(name, d_model=16, n_heads=4, dropout=0.0, causal=True)
    layer, x = AttentionFactory.create_attention(config), torch.randn(2, 13, 16)
    torch.testing.assert_close(torch.compile(layer, backend="eager")(x), layer(x))
"""


@pytest.mark.slow
def test_compiled_layers_compute_the_same():
    # Apart from here, where every call's shapes are checked, which cannot be compiled.
    source = str(Path(memollm.__file__).parents[1])
    subprocess.run([sys.executable, "-c", COMPILED], check=True, env={"PYTHONPATH": source})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"attention_type": "ful"}, "attention_type='ful' is not allowed, .* mean 'full'"),
        ({"attention_type": "full", "window_size": 4}, "window_size is not read by .*'full'"),
        ({"attention_type": "local", "options": {"stride": 3}}, "stride is not read by"),
        ({"attention_type": "local", "window_size": 0}, "window_size must be an integer >= 1"),
        ({"attention_type": "lsh", "options": {"buckets": 3}}, "buckets must be 1 or even, got 3"),
        ({"d_model": 10, "n_heads": 4}, "d_model must be a multiple of n_heads, got 10 and 4"),
        ({"n_heads": 4, "n_kv_heads": 3}, "n_heads must be a multiple of n_kv_heads"),
        ({"attention_type": "multi_head", "n_kv_heads": 2}, "n_kv_heads must be n_heads = 8"),
        ({"attention_type": "mqa", "n_kv_heads": 2}, "n_kv_heads must be 1 in mqa, got 2"),
        ({"attention_type": "gqa", "d_model": 6, "n_heads": 6}, "say n_kv_heads"),
        ({"attention_type": "linformer", "causal": True}, "linformer does not support causal"),
        ({"attention_type": "nsa", "causal": False}, "nsa does not support bidirectional"),
        ({"position_encoding": "rop"}, "position_encoding='rop' is not allowed"),
        ({"position_encoding": "xpos"}, "it needs causal"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), got 1.0"),
        ({"n_heads": 0}, "n_heads must be an integer >= 1, got 0"),
    ],
)
def test_what_cannot_be_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        AttentionFactory.create_attention(AttentionConfig(**settings))


def test_a_layer_that_is_not_causal_has_no_cache():
    with pytest.raises(ValueError, match="causal=True"):
        layer("full").cache()


# Settings with which nothing is chosen by content: a choice may tip over.
STEADY = {
    "nsa": {"block_size": 4, "options": {"block_counts": 3}},  # the three that are forced
    "lsh": {"options": {"buckets": 1}},
}


# bfloat16 keeps 8 bits, and projections are sums of some dozen numbers rounded to them.
@pytest.mark.parametrize("name", attention_types())
def test_autocast_rounds_projections_and_little_else(name):
    torch.manual_seed(0)
    part = groups()["mechanism"][name]
    encoding = None if name == "cross" else "rope"
    settings = {"causal": part.supports.causal, "position_encoding": encoding}
    config = AttentionConfig(name, **SMALL | settings | STEADY.get(name, {}))
    ours, x = AttentionFactory.create_attention(config), text().float()
    context = {"context": text(7).float()} if name == "cross" else {}
    exact = ours(x, **context)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = ours(x, **context)
        torch.autograd.backward(rounded.float().square().sum())
    assert (rounded.float() - exact).norm() / exact.norm() < 0.03
    assert all(it.grad is None or it.grad.isfinite().all() for it in ours.parameters())
