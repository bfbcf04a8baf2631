"""Gates on a model: whether they fit it, and who gives its layers' tokens their strength."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from memollm.memory.ebbinghaus import Memory
from memollm.memory.kernel import Kernel
from memollm.memory.strength.base import Reads, Source
from memollm.memory.strength.gates_file import Fit
from memollm.memory.strength.learned import GateSource, Learned

SAMPLE = 4096  # numbers of a model's embedding that tell its weights


def sources(model: PreTrainedModel, memory: Memory, layers: Sequence[int]) -> list[Source | None]:
    """Who gives new tokens their strength in each of ``layers``; None: the memory's constant.

    Raises:
        ValueError: if ``strength.weights`` are gates for another model.
    """
    if isinstance(memory.birth, Learned):
        gates = memory.birth.gates()
        require_fit(model, gates.fit, memory.birth)
    found = memory.birth.sources(layers, memory.strength, memory.time_step)
    if memory.kernel is Kernel.torch:
        for source in found:
            if isinstance(source, GateSource):
                source.leave_to_torch()
    return found


def require_fit(model: PreTrainedModel, fit: Fit, strength: Learned) -> None:
    """Refuse gates that cannot read this model, or were trained for other weights.

    Raises:
        ValueError: naming both.
    """
    ours = shape_of(model)
    theirs = {"layers": fit.layers, "kv_heads": fit.kv_heads}
    if ours != theirs or (fit.reads == Reads.inputs and fit.width != width_of(model)):
        raise ValueError(
            f"strength.weights={strength.weights} are gates for {fit.model} ({theirs}, reading "
            f"{fit.width} numbers a token), not for this model ({ours}, hidden size "
            f"{width_of(model)})"
        )
    if not strength.any_model and fit.weights != weights_fingerprint(model):
        raise ValueError(
            f"strength.weights={strength.weights} are gates for {fit.model} with other weights "
            "than this model has: train gates for it (task=train_strength), or say "
            "strength.any_model=true"
        )


def shape_of(model: PreTrainedModel) -> dict[str, int]:
    """What gates depend on, but for the width of what they read."""
    config = model.config.get_text_config(decoder=True)
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    return {"layers": config.num_hidden_layers, "kv_heads": heads}


def width_of(model: PreTrainedModel) -> int:
    """Numbers that an attention layer is given for each token."""
    return model.config.get_text_config(decoder=True).hidden_size


def weights_fingerprint(model: PreTrainedModel) -> str:
    """Tells trained weights from others; the same in every precision of at least bfloat16's."""
    table = model.get_input_embeddings().weight
    assert isinstance(table, Tensor)
    some = table.detach().flatten()[:SAMPLE].to("cpu", torch.bfloat16).view(torch.int16)
    return hashlib.sha256(some.numpy().tobytes()).hexdigest()[:16]
