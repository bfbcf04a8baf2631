"""One step of training: rate, losses, gradients, update."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Qwen2ForCausalLM

from memollm.reference.batches import Batch, scaled
from memollm.reference.config import TrainConfig
from memollm.reference.model import autocast, hidden_states
from memollm.reference.parallel import Team
from memollm.reference.pieces import Role


def train_step(
    model: Qwen2ForCausalLM,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    step: int,
    config: TrainConfig,
    team: Team,
) -> dict[str, float]:
    """One step of descent; the losses per token of text and of answers, of this process."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(config, step) * group["share"]
    text, answers = losses(model, team.share(batch), config.bfloat16)
    predicted = batch.roles[:, 1:]
    weight = (predicted == Role.TEXT).sum() + config.answer_weight * (
        predicted == Role.ANSWER
    ).sum()
    ((text.sum() + config.answer_weight * answers.sum()) / float(weight)).backward()
    team.sum_gradients(model)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    found = {"text": text, "answer": answers}
    return {name: float(loss.detach().mean()) for name, loss in found.items() if len(loss)}


def losses(model: Qwen2ForCausalLM, batch: Batch, bfloat16: bool) -> tuple[Tensor, Tensor]:
    """Cross-entropies of the text tokens and of the answer tokens; the rest has none."""
    tokens, roles, positions = (
        torch.from_numpy(part).to(model.device)
        for part in (batch.tokens, batch.roles, batch.positions)
    )
    with autocast(model, bfloat16):
        states = hidden_states(model, tokens, positions)[:, :-1]
        counted = roles[:, 1:] != Role.UNPREDICTABLE
        logits = model.lm_head(states[counted])  # only where there is a loss: logits cost most
    entropies = F.cross_entropy(logits.float(), tokens[:, 1:][counted], reduction="none")
    answers = roles[:, 1:][counted] == Role.ANSWER
    return entropies[~answers], entropies[answers]


def learning_rate(config: TrainConfig, step: int) -> float:
    """In each phase linear warm-up, constant, linear decay to zero over the last steps.

    A budget scaled down warms up as much faster: half the phases of a tenth would end first.
    """
    warmup = config.warmup * min(1.0, config.scale)
    for phase in config.phases:
        total = sum(scaled(stage, config) for stage in phase.stages)
        if step < total:
            rising = min(1.0, (step + 1) / warmup)
            falling = min(1.0, (total - step) / (phase.decay * total)) if phase.decay else 1.0
            return phase.rate * rising * falling
        step -= total
    raise IndexError("step lies beyond the last phase")


def build_optimizer(
    model: Qwen2ForCausalLM, config: TrainConfig, circuit: tuple[str, ...]
) -> torch.optim.AdamW:
    """AdamW; the weight of the embedding and the vectors does not decay.

    Parameters whose names begin as ``circuit`` says learn at ``circuit_rate`` times the rate.
    """
    parts: dict[tuple[float, float], list[Tensor]] = {}
    for name, weight in model.named_parameters():
        share = config.circuit_rate if name.startswith(circuit) else 1.0
        decay = 0.0 if weight.ndim < 2 or "embed" in name else config.weight_decay
        parts.setdefault((share, decay), []).append(weight)
    groups = [
        {"params": weights, "weight_decay": decay, "share": share}
        for (share, decay), weights in parts.items()
    ]
    return torch.optim.AdamW(
        groups, lr=config.learning_rate, betas=(0.9, 0.98), eps=1e-9, fused=True
    )
