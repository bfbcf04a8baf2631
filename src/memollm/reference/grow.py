"""Growing a trained model: more width, the same predictions.

After Net2Net (Chen et al., 2016, arXiv:1511.05641): new residual dimensions start empty and new
neurons silent, so that nothing that was learnt is lost.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from transformers import Qwen2ForCausalLM


def widen(model: Qwen2ForCausalLM, hidden: int, feed_forward: int) -> Qwen2ForCausalLM:
    """The same function with ``hidden`` residual dimensions and ``feed_forward`` neurons a layer.

    What reads new dimensions is drawn from torch's global generator; what writes them, and what
    new neurons write, is zero.

    Raises:
        ValueError: if that is less than the model has.
    """
    config = copy.deepcopy(model.config)
    old = config.hidden_size
    if hidden < old or feed_forward < config.intermediate_size:
        raise ValueError(
            f"a model of {old} dimensions and {config.intermediate_size} neurons a layer cannot "
            f"grow to {hidden} and {feed_forward}"
        )
    config.hidden_size, config.intermediate_size = hidden, feed_forward
    config.rms_norm_eps *= old / hidden  # as the mean square, over more dimensions, does
    grown = Qwen2ForCausalLM(config)
    nn.Module.to(grown, model.device, model.dtype)
    weights = dict(model.named_parameters())
    with torch.no_grad():
        for name, weight in grown.named_parameters():
            if "norm" in name:  # the mean square is over dimensions that are zero now, too
                weight.fill_(float(weights[name].mean()))
                weight[:old] = weights[name]
                weight *= math.sqrt(old / hidden)
            else:
                _extend(name, weight, weights[name], old)
    return grown


def _extend(name: str, weight: Tensor, trained: Tensor, old: int) -> None:
    """Lay the trained weight into the upper left corner of the larger one."""
    reads = any(part in name for part in ("q_proj", "k_proj", "v_proj", "gate", "up"))
    weight.normal_(0, 1 / math.sqrt(weight.shape[-1])) if reads else weight.zero_()
    weight[tuple(slice(size) for size in trained.shape)] = trained
