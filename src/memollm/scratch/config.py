"""The configuration of a scratch model, as ``config.json`` holds it."""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig, Qwen2Config

from memollm.scratch.cache import MECHANISM
from memollm.scratch.mechanisms import FULL, require


class ScratchConfig(Qwen2Config):
    """Qwen2's, and a mechanism for each layer.

    ``attention`` names them, ``mechanisms`` holds settings by name: what is not in it keeps the
    mechanism's default. ``layer_types`` follows from the names.
    """

    model_type = "memollm_scratch"

    head_dim: int | None
    attention: list[str]
    mechanisms: dict[str, Any]

    def __init__(
        self,
        attention: list[str] | None = None,
        mechanisms: dict[str, Any] | None = None,
        head_dim: int | None = None,
        layer_types: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        layers = kwargs.get("num_hidden_layers", Qwen2Config.num_hidden_layers)
        self.attention = attention or [FULL] * layers
        self.mechanisms, self.head_dim = mechanisms or {}, head_dim
        # Qwen2 checks what it is given, and knows its own layers alone.
        super().__init__(layer_types=["full_attention"] * layers, **kwargs)
        heads, kv_heads = self.num_attention_heads, self.num_key_value_heads
        require(self.attention, self.mechanisms, heads, kv_heads)
        self.layer_types = [
            "full_attention" if name == FULL else MECHANISM for name in self.attention
        ]
        self.validate()

    def validate(self) -> None:
        """What Qwen2 checks, with layers of types that it knows."""
        if len(self.attention) != self.num_hidden_layers:
            raise ValueError(
                f"attention={self.attention} is not allowed, there are {self.num_hidden_layers} "
                "layers"
            )
        mine, self.layer_types = self.layer_types, ["full_attention"] * self.num_hidden_layers
        try:
            super().validate()  # pyright: ignore[reportAttributeAccessIssue] - strict makes it
        finally:
            self.layer_types = mine


AutoConfig.register(ScratchConfig.model_type, ScratchConfig)
