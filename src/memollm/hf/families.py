"""Which models can be given a memory, and why the others cannot."""

from __future__ import annotations

from transformers import PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import DynamicCache, DynamicLayer

from memollm.memory.ebbinghaus import Memory


class UnsupportedModelError(ValueError):
    """The architecture cannot honour a memory."""


def memory_layers(
    model: type[PreTrainedModel], whole: PreTrainedConfig, memory: Memory
) -> list[int]:
    """Indices of the layers that get a memory: full attention, in the first ``layer_fraction``.

    Sliding-window, linear-attention and key-value-sharing layers stay as they are. The class and
    its configuration tell it all, so that nothing need be loaded to be refused.

    Raises:
        UnsupportedModelError: naming the model, and what about it cannot be honoured.
    """
    name = model.__name__
    config = whole.get_text_config(decoder=True)
    if getattr(whole, "is_encoder_decoder", False):
        raise UnsupportedModelError(
            f"{name} is an encoder-decoder model; memories need a causal language model"
        )
    if not model.can_generate():
        raise UnsupportedModelError(
            f"{name} does not generate text; memories need a causal language model"
        )
    if not model._can_set_attn_implementation():
        raise UnsupportedModelError(
            f"{name} ({config.model_type}) computes attention in its own code and not through "
            "Transformers' attention interface, so a memory cannot see its attention weights; "
            "choose a model that does (llama, qwen2, qwen3, mistral, gemma2, phi3, gpt_neox, gpt2, "
            "olmo2, opt, ...)"
        )
    if getattr(config, "kv_lora_rank", None):
        raise UnsupportedModelError(
            f"{name} ({config.model_type}) caches compressed latents (multi-head latent "
            "attention) instead of the keys that its attention sees, so a memory cannot tell which "
            "cached token they belong to; choose a model with ordinary or grouped-query attention"
        )
    layers = DynamicCache(config=config).layers
    count = memory.layers(config.num_hidden_layers)
    chosen = [i for i, layer in enumerate(layers[:count]) if type(layer) is DynamicLayer]
    if not chosen:
        kinds = sorted({type(layer).__name__ for layer in layers[:count]})
        raise UnsupportedModelError(
            f"{name} ({config.model_type}) has no full-attention layer among the first {count} "
            f"of its {config.num_hidden_layers} ({', '.join(kinds) or 'no cached layers'}): "
            f"layer_fraction={memory.layer_fraction} leaves nothing to remember in"
        )
    return chosen
