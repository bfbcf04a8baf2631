"""The examples that the factory's interface was given by, imports apart, as they were written."""

import re

import pytest
import torch

from memollm.attention import measurements, profiler

QUICK_START = """
from memollm.attention import AttentionFactory, AttentionConfig

# Create a configuration
config = AttentionConfig(
    attention_type="flash",  # Options: full, flash, linear, sparse, gqa, mqa
    d_model=512,
    n_heads=8,
    dropout=0.1
)

# Create attention module
attention = AttentionFactory.create_attention(config)

# Use in your model
import torch
x = torch.randn(2, 128, 512)  # [batch_size, seq_len, d_model]
output = attention(x)
"""

SELECTION = """
from memollm.attention import AttentionSelector

# Automatically select best attention for your scenario
config = AttentionSelector.select_for_scenario(
    scenario="long_context",  # Options: training, inference, long_context, memory_limited
    seq_len=8192,
    memory_constraint=2000  # MB
)
"""

MIXED = """
from memollm.attention import TransformerBlock, AttentionConfig

# Create a model with different attention types per layer
configs = [
    AttentionConfig(attention_type="local", window_size=128),     # Bottom layers
    AttentionConfig(attention_type="block_sparse", block_size=64), # Middle layers
    AttentionConfig(attention_type="full")                         # Top layers
]

layers = [TransformerBlock(config) for config in configs]
"""

PROFILE = """
from memollm.attention import AttentionProfiler

# Profile different attention mechanisms
profile = AttentionProfiler.profile_attention(
    attention_type="flash",
    batch_size=4,
    seq_len=2048,
    num_iterations=100
)
print(f"Latency: {profile['avg_latency_ms']:.2f}ms")
print(f"Memory: {profile['memory_mb']:.2f}MB")
"""


def run(example):
    names = {}
    exec(example, names)
    return names


@pytest.mark.parametrize("name", ["full", "flash", "linear", "sparse", "gqa", "mqa"])
def test_quick_start(name):
    names = run(QUICK_START.replace('"flash"', f'"{name}"'))
    assert names["output"].shape == (2, 128, 512)


def test_selection(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(measurements, "_known", {})
    monkeypatch.setattr(measurements, "LENGTHS", (128, 256))  # in place of 1024 and 2048
    monkeypatch.setattr(measurements, "ITERATIONS", 1)
    config = run(SELECTION)["config"]
    assert config.max_seq_len == 8192 and "memory_mb <= 2000" in config.reason


def test_mixed_model():
    hidden = torch.randn(2, 300, 512)
    for layer in run(MIXED)["layers"]:
        hidden = layer(hidden)
    assert hidden.shape == (2, 300, 512) and hidden.isfinite().all()


def test_profile(monkeypatch, capsys):
    monkeypatch.setattr(profiler, "WARM_UP", 0)
    monkeypatch.setattr(profiler, "_timed", lambda work, device: 0.25)  # 100 calls take a minute
    run(PROFILE)
    printed = capsys.readouterr().out
    assert re.fullmatch(r"Latency: 250\.00ms\nMemory: \d+\.\d\dMB\n", printed)
    assert float(printed.split()[-1][:-2]) < 512  # 4 * 8 matrices of 2048^2 would be 512 MiB
