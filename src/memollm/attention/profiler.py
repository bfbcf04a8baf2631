"""What an attention layer costs on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from memollm.attention.config import AttentionConfig
from memollm.attention.factory import AttentionFactory
from memollm.attention.held import most_held
from memollm.attention.layer import AttentionLayer
from memollm.attention.operations import operations

WARM_UP = 2  # runs that do not count
MEGA = 2**20


class AttentionProfiler:
    """Measures attention layers."""

    @staticmethod
    def profile_attention(
        attention_type: str = "full",
        batch_size: int = 4,
        seq_len: int = 512,
        d_model: int = 512,
        n_heads: int = 8,
        num_iterations: int = 100,
        *,
        backward: bool = False,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
        config: AttentionConfig | None = None,
    ) -> dict[str, Any]:
        """Time and memory of one call of a layer, its projections included.

        Args:
            attention_type: of the layer, where ``config`` is None.
            batch_size: rows.
            seq_len: tokens of each row.
            d_model: width, where ``config`` is None.
            n_heads: heads, where ``config`` is None.
            num_iterations: calls that count; two before them do not.
            backward: the gradients of everything, too.
            dtype: of weights and inputs.
            device: where to measure.
            config: any layer.

        Returns:
            "attention_type"; "avg_latency_ms" and "best_latency_ms" of a call (milliseconds of the
            clock); "throughput_tokens_per_sec"; "memory_mb", the most it holds beyond its weights
            and inputs (MiB); "flops" of its matrix products; "device"; "dtype"; "threads".

        Raises:
            ValueError: for a layer that cannot be, or no iterations.
        """
        if num_iterations < 1:
            raise ValueError(f"num_iterations must be >= 1, got {num_iterations}")
        config = config or AttentionConfig(
            attention_type, d_model, n_heads, max_seq_len=max(seq_len, 2048)
        )
        place = torch.device(device)
        layer = AttentionFactory.create_attention(config).to(place, dtype)
        layer.train(backward)
        hidden = torch.randn(
            batch_size, seq_len, config.d_model, dtype=dtype, device=place, requires_grad=backward
        )
        work = _call(layer, hidden, backward)
        for _ in range(WARM_UP):
            work()
        seconds = [_timed(work, place) for _ in range(num_iterations)]
        average = sum(seconds) / num_iterations
        return {
            "attention_type": config.attention_type,
            "avg_latency_ms": 1e3 * average,
            "best_latency_ms": 1e3 * min(seconds),
            "throughput_tokens_per_sec": batch_size * seq_len / average,
            "memory_mb": most_held(work, place) / MEGA,
            "flops": operations(work),
            "device": str(place),
            "dtype": str(dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
        }


def _call(layer: AttentionLayer, hidden: torch.Tensor, backward: bool) -> Callable[[], object]:
    # The keys of an attention to another sequence are of that sequence: here, of an equal one.
    supports = layer.mechanism.supports
    alone = not (supports.causal or supports.bidirectional)
    context = hidden if alone else None
    wanted = [hidden, *layer.parameters()]

    def forward() -> object:
        with torch.inference_mode():
            return layer(hidden, context=context)

    def both() -> object:
        outputs = layer(hidden, context=context)
        outputs.backward(torch.ones_like(outputs))
        for it in wanted:
            it.grad = None
        return outputs

    return both if backward else forward


def _timed(work: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
