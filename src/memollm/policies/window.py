"""Window: the newest tokens stay, whatever they say."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from memollm.memory.tokens import Tokens
from memollm.policies.base import Ranking
from memollm.registry import register


@register("policy", "window")
@dataclass
class Window(Ranking):
    """Attention sinks and the most recent tokens (StreamingLLM, Xiao et al., arXiv:2309.17453).

    The sinks are the memory's ``sinks``. StreamingLLM numbers the positions of what it keeps
    anew; here positions are carried, so that a token stays where it was.
    """

    def priority(self, tokens: Tokens, keep: Int[Tensor, " batch"]) -> Float[Tensor, "batch pairs"]:
        return tokens.position.double()
