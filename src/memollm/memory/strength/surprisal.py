"""Strength from surprisal: what the model did not expect fades slowly. Nothing is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from memollm.memory.strength.base import Reads, Strength
from memollm.memory.strength.scaling import require_power
from memollm.registry import register

FLOOR = 1e-3  # nats; a token that was certain still has a strength > 0


@register("strength", "surprisal")
@dataclass
class Surprisal(Strength):
    """S = memory_strength * nll ** power; nll in nats, of the token given its past.

    The model says how surprising a token is while it streams. While decoding that is known before
    the token is fed, from the logits of the step before; of a prompt only when its forward pass is
    over, so that layers forget after the pass instead of within it, and a pass may hold one chunk
    (``memory.prefill_chunk``) at most. The first token, which nothing predicts, is given the
    surprisal of a uniform guess.
    """

    reads: ClassVar[Reads] = Reads.surprisal

    power: float = 1.0  # > 0
    rehearsed: bool = False  # whether attention strengthens tokens further

    def __post_init__(self) -> None:
        require_power(self.power)

    @property
    def rehearses(self) -> bool:
        return self.rehearsed

    def strength(self, nll: Float[Tensor, "*tokens"], unit: float) -> Float[Tensor, "*tokens"]:
        """S of tokens by their surprisal."""
        return unit * nll.clamp(min=FLOOR) ** self.power


def surprisal(
    logits: Float[Tensor, "batch new vocabulary"],
    before: Float[Tensor, "batch vocabulary"] | None,
    ids: Int[Tensor, "batch new"],
) -> Float[Tensor, "batch new"]:
    """-ln p of each new token given its past, in nats.

    Args:
        logits: after each of the new tokens.
        before: logits after the last token of the pass before; None: there was none.
        ids: the new tokens.
    """
    precise = torch.promote_types(logits.dtype, torch.float32)
    uniform = torch.zeros_like(logits[:, 0]) if before is None else before
    known = torch.cat([uniform[:, None], logits[:, :-1]], dim=1).to(precise)
    return torch.nn.functional.cross_entropy(known.transpose(1, 2), ids, reduction="none")
