"""What gates are trained for: the damped model says what the untouched one does, in less memory."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from memollm.gating.config import GateTraining
from memollm.gating.damped import Attention, LogRetention, lost
from memollm.reference.pieces import Role

Weight = Float[Tensor, "batch predicted"]  # of each graded token but the last; they sum to 1


def weights(roles: Int[Tensor, "batch graded"], answer_weight: float) -> Weight:
    """By what is predicted: answers count more, what nothing can predict does not count.

    What follows an answer counts as it does: where a value ends has to be looked up, too.
    """
    role = roles[:, 1:]
    answers = (role == Role.ANSWER) | (roles[:, :-1] == Role.ANSWER)
    weight = torch.where(answers, answer_weight, 1.0)
    weight = torch.where(role == Role.UNPREDICTABLE, 0.0, weight)
    return weight / weight.sum().clamp(min=1e-9)


def of_attention(
    attention: Mapping[int, Attention], retention: Mapping[int, LogRetention], weight: Weight
) -> Float[Tensor, ""]:
    """The attention that each layer loses, mean over layers.

    Args:
        attention: the untouched model's.
        retention: ln R as the graded tokens see it.
        weight: see ``weights``.
    """
    losses = [(weight * lost(attention[it], retention[it])[:, :-1]).sum() for it in retention]
    return torch.stack(losses).mean()


def of_words(
    teacher: Float[Tensor, "batch graded vocabulary"],
    student: Float[Tensor, "batch graded vocabulary"],
    ids: Int[Tensor, "batch graded"],
    weight: Weight,
) -> dict[str, Float[Tensor, ""]]:
    """What the damped model says, beside the untouched one and beside the text.

    Args:
        teacher: logits of the untouched model.
        student: of the damped one.
        ids: the graded tokens.
        weight: see ``weights``.
    """
    said = student[:, :-1].float().log_softmax(dim=-1)
    meant = teacher[:, :-1].float().log_softmax(dim=-1)
    divergence = (meant.exp() * (meant - said)).sum(dim=-1)
    entropy = functional.nll_loss(said.transpose(1, 2), ids[:, 1:], reduction="none")
    return {"divergence": (weight * divergence).sum(), "next_token": (weight * entropy).sum()}


def total(terms: dict[str, Float[Tensor, ""]], config: GateTraining) -> Float[Tensor, ""]:
    """The loss."""
    factors = {
        "divergence": config.distillation,
        "next_token": config.next_token,
        "attention": config.attention,
        "overflow": config.capacity,
    }
    return torch.stack([factors[name] * term for name, term in terms.items()]).sum()
