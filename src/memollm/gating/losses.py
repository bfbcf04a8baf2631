"""What gates are trained for: the damped model says what the untouched one does, in less memory."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from memollm.gating.config import GateTraining
from memollm.gating.damped import Attention, LogRetention, lost, overflow
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


def of_layers(
    attention: Mapping[int, Attention],
    retention: Mapping[int, LogRetention],
    weight: Weight,
    budget: float | int,
) -> dict[str, Float[Tensor, ""]]:
    """What each layer keeps, mean over layers: the attention lost, and the memory it takes.

    Args:
        attention: the untouched model's.
        retention: ln R.
        weight: see ``weights``.
        budget: share of the tokens seen, in (0, 1), or a number of them.
    """
    losses = [(weight * lost(attention[it], retention[it])[:, :-1]).sum() for it in retention]
    over = [overflow(it, budget) for it in retention.values()]
    return {"attention": torch.stack(losses).mean(), "overflow": torch.stack(over).mean()}


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
