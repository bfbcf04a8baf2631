"""What is measured is what is there."""

import pytest
import torch

from memollm.attention import AttentionConfig, AttentionProfiler
from memollm.attention.held import most_held
from memollm.attention.operations import operations

CPU = torch.device("cpu")


def test_memory_is_counted_until_it_is_freed():
    def work():
        first = torch.zeros(1000)
        second = first * 2
        del first
        third = second + 1  # two at a time
        return second.view(10, 100), third[:5]  # views hold nothing of their own

    assert most_held(work, CPU) == 8000


def test_what_was_there_before_does_not_count():
    before = torch.zeros(1000)
    assert most_held(lambda: before.view(10, 100).t().add_(1), CPU) == 0


def test_operations_are_those_of_the_products():
    a, b = torch.zeros(1, 2, 30, 8, requires_grad=True), torch.zeros(8, 5)
    assert operations(lambda: a.detach() @ b) == 2 * 60 * 8 * 5
    fused = torch.nn.functional.scaled_dot_product_attention
    forward = 4 * 2 * 30 * 30 * 8
    assert operations(lambda: fused(a.detach(), a.detach(), a.detach())) == forward
    assert operations(lambda: fused(a, a, a).sum().backward()) == forward * 7 // 2


def test_a_profile_has_what_was_asked_for():
    shape = {"batch_size": 2, "seq_len": 16, "d_model": 32, "n_heads": 4, "num_iterations": 3}
    profile = AttentionProfiler.profile_attention("full", **shape)
    assert profile["attention_type"] == "full" and profile["device"] == "cpu"
    assert 0 < profile["best_latency_ms"] <= profile["avg_latency_ms"]
    seconds = profile["avg_latency_ms"] / 1e3
    assert profile["throughput_tokens_per_sec"] == pytest.approx(32 / seconds)
    assert profile["flops"] == 2 * 32 * 32 * 32 * 4 + 4 * 2 * 16 * 16 * 32
    # Queries, keys, values and what is made of them are alive together: 2 * 16 * 32 floats each.
    assert 3 * 4096 <= profile["memory_mb"] * 2**20 <= 8 * 4096
    learning = AttentionProfiler.profile_attention("full", **shape, backward=True)
    assert learning["flops"] > 2 * profile["flops"]
    assert learning["memory_mb"] > profile["memory_mb"]


@pytest.mark.parametrize("name", ["cross", "linformer", "nsa"])
def test_any_layer_can_be_profiled(name):
    config = AttentionConfig(name, d_model=16, n_heads=4)
    for backward in (False, True):
        found = AttentionProfiler.profile_attention(
            batch_size=1, seq_len=16, num_iterations=1, config=config, backward=backward
        )
        assert found["attention_type"] == name and found["memory_mb"] > 0


def test_no_iterations_are_refused():
    with pytest.raises(ValueError, match="num_iterations must be >= 1, got 0"):
        AttentionProfiler.profile_attention(num_iterations=0)
