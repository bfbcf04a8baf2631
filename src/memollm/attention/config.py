"""The configuration of an attention layer, and the mechanism that it describes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from memollm.attention.mechanisms.base import Mechanism
from memollm.registry import groups, import_parts, refusal

ALIASES = {  # other names in use
    "standard": "full",
    "scaled_dot_product": "full",
    "mha": "multi_head",
    "self_attention": "self",
    "cross_attention": "cross",
    "flash_v2": "flash",
    "sliding_window": "local",
    "sparse": "block_sparse",
}
# Settings that some mechanisms read; a value for one that does not is refused.
SETTINGS = ("window_size", "block_size", "projection_dim", "num_landmarks")


@dataclass
class AttentionConfig:
    """Everything that makes an attention layer."""

    attention_type: str = "full"  # a mechanism; see ``attention_types()``
    d_model: int = 512  # width of hidden states
    n_heads: int = 8
    n_kv_heads: int | None = None  # None: what is usual for the type, else one per head
    window_size: int | None = None  # tokens; None here and below: the mechanism's own default
    block_size: int | None = None  # tokens
    projection_dim: int | None = None  # linformer: rank; performer: features
    num_landmarks: int | None = None
    dropout: float = 0.1  # of the layer's outputs, in training
    max_seq_len: int = 2048  # tokens; read by linformer and cosformer
    causal: bool | None = None  # None: no, except where a mechanism cannot but be
    position_encoding: str | None = None  # rope, xpos, alibi
    bias: bool = False  # of the projections
    d_ff: int | None = None  # width of a TransformerBlock's MLP; None: 4 * d_model
    options: dict[str, Any] = field(default_factory=dict)  # further fields of the mechanism
    reason: str = ""  # why a selector chose it

    def __post_init__(self) -> None:
        for name in ("d_model", "n_heads", "max_seq_len"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be an integer >= 1, got {value!r}")
        if self.d_model % self.n_heads:
            raise ValueError(
                f"d_model must be a multiple of n_heads, got {self.d_model} and {self.n_heads}"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {self.dropout}")


def attention_types() -> list[str]:
    """All mechanisms, by name."""
    import_parts("attention.mechanisms")
    return sorted(groups()["mechanism"])


def mechanism_of(config: AttentionConfig) -> Mechanism:
    """The mechanism that ``config`` describes.

    Raises:
        ValueError: for an unknown type, a setting that it does not read, or a wrong value.
    """
    names = attention_types()
    name = ALIASES.get(config.attention_type, config.attention_type)
    if name not in names:
        raise refusal("attention_type", config.attention_type, [*names, *ALIASES])
    part = groups()["mechanism"][name]
    known = [it.name for it in dataclasses.fields(part)]
    given = {it: getattr(config, it) for it in SETTINGS if getattr(config, it) is not None}
    given |= config.options
    unread = sorted(set(given) - set(known))
    if unread:
        takes = ", ".join(known) or "no settings"
        raise ValueError(f"{unread[0]} is not read by attention_type={name!r}, which takes {takes}")
    if "max_seq_len" in known:
        given.setdefault("max_seq_len", config.max_seq_len)
    return part(**given)
