"""Perplexity for the model card: per token, by position, and in bits per byte."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from transformers import Qwen2ForCausalLM

from memollm.reference.library import Library


@torch.no_grad()
def entropies(model: Qwen2ForCausalLM, windows: np.ndarray) -> np.ndarray:
    """Cross-entropy in nats of every token but the first of each window (windows, length - 1)."""
    rows = []
    for window in windows:
        tokens = torch.from_numpy(window.astype(np.int64))[None].to(model.device)
        logits = model(tokens, use_cache=False).logits[0, :-1].float()
        rows.append(F.cross_entropy(logits, tokens[0, 1:], reduction="none").cpu().numpy())
    return np.stack(rows)


def spread_windows(stream: np.ndarray, length: int, count: int) -> np.ndarray:
    """At most ``count`` windows spread evenly over the stream (windows, length).

    No more than fit end to end, so that a short text counts once; none where not one fits.
    """
    count = min(count, len(stream) // length)
    if not count:
        return stream[:0].reshape(0, length)
    starts = np.linspace(0, len(stream) - length, count).astype(int)
    return np.stack([stream[start : start + length] for start in starts])


def sliding_windows(stream: np.ndarray, length: int, stride: int) -> np.ndarray:
    """Every window (windows, length) from the stream's start that fits, ``stride`` tokens apart."""
    if len(stream) < length:
        return stream[:0].reshape(0, length)
    return np.lib.stride_tricks.sliding_window_view(stream, length)[::stride]


@dataclass(frozen=True)
class Reach:
    """What the same tokens cost with all of a window before them, and with little."""

    far: float  # perplexity
    near: float
    ratio: float  # far / near
    stderr: float | None  # of the ratio, over windows; one window has none


@torch.no_grad()
def reach(
    model: Qwen2ForCausalLM, windows: np.ndarray, graded: int = 256, near: int = 256
) -> Reach:
    """Of the last ``graded`` tokens of each window (windows, length): all before, or ``near``.

    Tokens at other places are other text; only the same tokens tell what far context is worth.
    """
    far_nll = entropies(model, windows)[:, -graded:].mean(1)
    near_nll = entropies(model, windows[:, -(graded + near) :])[:, -graded:].mean(1)
    gain = far_nll - near_nll
    ratio = float(np.exp(gain.mean()))
    error = ratio * float(gain.std(ddof=1) / len(gain) ** 0.5) if len(gain) > 1 else None
    return Reach(float(np.exp(far_nll.mean())), float(np.exp(near_nll.mean())), ratio, error)


@dataclass(frozen=True)
class TextQuality:
    """Over all windows: what one token costs, and what one byte does."""

    perplexity: float
    bits_per_byte: float


def quality(losses: np.ndarray, windows: np.ndarray, library: Library) -> TextQuality:
    decoded = (library.tokenizer.decode(window[1:].tolist()) for window in windows)
    size = sum(len(text.encode()) for text in decoded)
    bits = float(losses.sum() / np.log(2) / size)
    return TextQuality(float(np.exp(losses.mean())), bits)
