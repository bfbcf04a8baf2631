"""Calibration: the threshold that keeps what a budget asks for, found on a text.

The forgetting curve alone gives a first answer: the threshold at which tokens that are never
rehearsed live exactly long enough. Rehearsal keeps more than that, by how much only the model can
tell, so the lifetime is halved in on until the tokens that are kept of a calibration text, mean
over memory layers, are the budget's.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from memollm.hf.attachment import attach
from memollm.memory.budget import BudgetBy
from memollm.memory.ebbinghaus import Memory
from memollm.modes.sparse_attention import SparseAttention
from memollm.reference import text_path

STEPS = 14  # halvings at most: of 1024 tokens, to a sixteenth of a token
CLOSE = 0.002  # of the text's tokens: near enough to stop early
TOLERATED = 0.05  # of the budget: a miss that is refused if it is larger


def calibrated(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, memory: Memory
) -> Memory:
    """``memory`` with the threshold that its budget comes to, or unchanged where none is asked for.

    The text is the beginning of the bundled English, ``calibration_tokens`` long.

    Raises:
        ValueError: if no threshold keeps so few tokens, or so many.
    """
    if memory.budget_by != BudgetBy.threshold:
        return memory
    require_length(model.config, memory)
    tokens = memory.calibration_tokens
    ids = _text(tokenizer, tokens)
    budget = memory.budget
    wanted = float(budget if isinstance(budget, int) else round(budget * tokens))

    def kept(lifetime: float) -> float:
        trial = memory.solved(_threshold(memory, lifetime))
        return kept_tokens(model, ids.to(model.device), trial)

    lifetime, realised = bisected(kept, wanted, tokens, first=max(wanted - memory.sinks - 0.5, 0.5))
    if abs(realised - wanted) > max(TOLERATED * wanted, 1):
        raise ValueError(
            f"budget={budget} cannot be met by a threshold: of {tokens} tokens (memory."
            f"calibration_tokens) the nearest keeps {realised:.0f}, not {wanted:.0f}. Choose "
            "another budget, less rehearsal (memory.reinforcement, memory.recall_threshold), or "
            "memory.budget_by=rank"
        )
    return memory.solved(_threshold(memory, lifetime))


def bisected(
    kept: Callable[[float], float], wanted: float, tokens: int, first: float
) -> tuple[float, float]:
    """The lifetime that keeps ``wanted`` of ``tokens`` tokens, and what it really keeps.

    Longer lifetimes keep more, but for exceptions: what is kept draws attention from the rest.
    So the best of all that was tried is returned, not the last.

    Args:
        kept: tokens kept at a lifetime, both in tokens.
        wanted: tokens to keep.
        tokens: length of the text.
        first: lifetime to try first.

    >>> bisected(lambda lifetime: min(2 * lifetime, 100), wanted=30.0, tokens=100, first=30.0)
    (15.0, 30.0)
    """
    low, high, lifetime = 0.0, 2.0 * tokens, first
    tried: list[tuple[float, float]] = []
    for _ in range(STEPS):
        tried.append((lifetime, kept(lifetime)))
        over = tried[-1][1] - wanted
        if abs(over) <= CLOSE * tokens:
            break
        low, high = (low, lifetime) if over > 0 else (lifetime, high)
        lifetime = (low + high) / 2
    return min(tried, key=lambda it: abs(it[1] - wanted))


def require_length(config: PreTrainedConfig, memory: Memory) -> None:
    """Refuse a calibration text that is longer than the model's context.

    Raises:
        ValueError: naming both.
    """
    limit = getattr(config.get_text_config(decoder=True), "max_position_embeddings", math.inf)
    if memory.budget_by == BudgetBy.threshold and memory.calibration_tokens > limit:
        raise ValueError(
            f"memory.calibration_tokens={memory.calibration_tokens} is not allowed, the model's "
            f"context has {limit} tokens"
        )


@torch.no_grad()
def kept_tokens(model: PreTrainedModel, ids: Int[Tensor, "1 tokens"], memory: Memory) -> float:
    """Tokens of a prompt that are still seen after it, mean over memory layers."""
    with attach(model, memory, SparseAttention()) as attachment:
        assert attachment is not None
        cache = attachment.new_cache()
        for part in ids.split(memory.prefill_chunk, dim=1):
            model(input_ids=part, past_key_values=cache, use_cache=True)
        layers = attachment.memory_layers(cache)
        return sum(layer.remembering.kept_tokens() for layer in layers) / len(layers)


def _threshold(memory: Memory, lifetime: float) -> float:
    """The retention of a token that was never rehearsed, at an age of ``lifetime`` tokens."""
    age = torch.tensor(lifetime * memory.time_step, dtype=torch.float64)
    strength = torch.tensor(memory.strength, dtype=torch.float64)
    return min(float(memory.retention.retention(age, strength)), 1 - 1e-12)


def _text(tokenizer: PreTrainedTokenizerBase, tokens: int) -> Int[Tensor, "1 tokens"]:
    text = text_path().read_text(encoding="utf-8")
    ids: list[int] = []
    end = 8 * tokens  # characters; more where a tokenizer makes long tokens
    while len(ids) < tokens:
        ids = tokenizer.encode(text[:end], add_special_tokens=False)
        if end >= len(text) and len(ids) < tokens:
            raise ValueError(
                f"memory.calibration_tokens={tokens} is not allowed, the calibration text has "
                f"{len(ids)}"
            )
        end *= 2
    return torch.tensor(ids[:tokens])[None]
