"""A model under a press, as evaluations see it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from memollm.evaluation.base import Session
from memollm.hf.models import Loaded
from memollm.hf.subject import HFSession, HFSubject
from memollm.kvpress.inside.building import build
from memollm.kvpress.inside.patching import hide_pairs, unpatched
from memollm.kvpress.inside.session import PressSession
from memollm.kvpress.mode import KVPress
from memollm.memory.ebbinghaus import Memory
from memollm.modes.baseline import Baseline


class PressSubject:
    """A causal language model whose contexts a press compresses.

    Raises:
        ValueError: for a model with layers that keep less than all tokens by themselves.
    """

    has_memory = True

    def __init__(self, loaded: Loaded, mode: KVPress) -> None:
        self._mode = mode
        self._untouched = UntouchedSubject(
            loaded.model, loaded.tokenizer, Memory(), Baseline(), loaded.name
        )
        self.model, self.tokenizer = loaded.model, loaded.tokenizer
        self.name, self.max_length = self._untouched.name, self._untouched.max_length
        self.prefill_chunk = self._untouched.prefill_chunk
        self.device, self.weight_bytes = self._untouched.device, self._untouched.weight_bytes
        config = loaded.model.config.get_text_config(decoder=True)
        if getattr(config, "head_dim", None) is None:  # some presses read it where Qwen2 has none
            config.head_dim = config.hidden_size // config.num_attention_heads
        kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
        if kinds != {"full_attention"}:
            raise ValueError(
                f"{self.name} is not allowed with mode=kvpress: of its layers some are "
                f"{', '.join(sorted(kinds - {'full_attention'}))}, and a press would compress "
                "those, too"
            )

    @contextmanager
    def session(
        self, earlier: Session | None = None, ledger: bool = False
    ) -> Iterator[PressSession]:
        """A fresh cache and a fresh press, or an ``earlier`` session's."""
        if earlier is None:
            earlier = PressSession(self.model, build(self._mode), self._mode.seed, ledger)
        assert isinstance(earlier, PressSession)
        hide_pairs(self.model, earlier.hidden)
        try:
            with torch.no_grad():
                yield earlier
        finally:
            hide_pairs(self.model, dict.fromkeys(earlier.hidden))

    def untouched(self) -> HFSubject:
        """The same model without a press, and with attention as it was before kvpress."""
        return self._untouched


class UntouchedSubject(HFSubject):
    """The model as it is in a process without kvpress."""

    @contextmanager
    def session(self, earlier: Session | None = None, ledger: bool = False) -> Iterator[HFSession]:
        with unpatched(), super().session(earlier, ledger) as session:
            yield session
