"""A model of one's own: small, an attention mechanism for each layer, trained by ``task=train``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memollm.hf.models import Loaded, ModelSource, context_length, load_folder, weights_hash
from memollm.registry import register

if TYPE_CHECKING:
    from memollm.hf.models import Check


@register("model", "scratch")
@dataclass
class ScratchSource(ModelSource):
    """Trained by ``task=train model=scratch``, then measured with ``model.name=<its folder>``.

    Beside ``name`` the fields say what is trained; a trained model's folder knows them itself.
    """

    name: str | None = None  # folder of a trained model
    attention: Any = "full"  # mechanism of all layers, or a list: one a layer, or repeated
    mechanisms: Any = None  # their settings, as {local: {window_size: 64}}
    vocabulary: int = 3072  # tokens
    hidden: int = 192
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    feed_forward: int = 448
    max_positions: int = 8192
    rope_theta: float = 1e8
    # Start from the reference model's hand-made retrieval circuit, which no short training finds.
    circuit: bool = False

    def __post_init__(self) -> None:
        ModelSource.__post_init__(self)
        given = self.attention
        self.mechanisms = self.mechanisms or {}
        self.attention = [given] if isinstance(given, str) else list(given)

    def prepare(self) -> None:
        super().prepare()
        if not self.name:
            raise ValueError(
                "model.name is not set: model=scratch is measured with the folder of a model that "
                "`python run.py task=train model=scratch` has trained"
            )
        if not (self._folder / "config.json").is_file():
            raise ValueError(
                f"model.name={self.name!r} is not allowed, it has no config.json to load"
            )

    def context_length(self) -> int | None:
        return context_length(self._folder)

    def fingerprint(self) -> str:
        return weights_hash(self._folder) if self.name else ""

    def load(self, check: Check | None = None) -> Loaded:
        self.prepare()
        return load_folder(self, str(self._folder), self._folder.parent.name, check)

    @property
    def _folder(self) -> Path:
        return Path(self.name or "").expanduser()
