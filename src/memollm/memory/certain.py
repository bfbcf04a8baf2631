"""How many tokens a memory keeps whatever happens: below that, forgetting cannot show."""

from __future__ import annotations

import math

from memollm.memory.ebbinghaus import Memory
from memollm.memory.strength.base import Reads
from memollm.memory.threshold import Threshold


def kept_for_certain(memory: Memory, layers: int, graded: bool) -> float:
    """Most tokens of a sequence that leave every one of them as it was in every layer.

    A lower bound, reached if nothing is rehearsed. A number of tokens, or infinity.

    Args:
        memory: the memory.
        layers: how many layers have it.
        graded: whether the mode attenuates what is not forgotten yet, which touches every token
            that is not protected.

    >>> kept_for_certain(Memory(), 4, graded=False)  # 4 sinks, and a lifetime of 2302 tokens
    2307.0
    >>> kept_for_certain(Memory(threshold="auto", budget=0.5), 4, graded=False)
    20.0
    """
    protected = float(memory.sinks + memory.recent)
    if graded:
        return protected
    return min(_layer(memory, threshold, protected) for threshold in memory.thresholds(layers))


def _layer(memory: Memory, threshold: Threshold, protected: float) -> float:
    if threshold.budget is not None:
        return max(float(threshold.keep(0)), protected)
    if memory.birth.reads != Reads.nothing:
        return protected  # how long a token lives is known when it is there
    ceiling = memory.schedule.ceiling(threshold.value or 0.0)
    lifetime = memory.lifetime_tokens(ceiling) if ceiling else math.inf
    if math.isinf(lifetime):
        return lifetime
    # The oldest token that is not a sink is `seen - 1 - sinks` old. It dies past its lifetime, or
    # at it, if that is a whole number: rounding decides.
    return max(float(memory.sinks + math.ceil(lifetime)), protected)
