"""One context under a press: read whole, compressed once, then questions and answers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicCache

import kvpress  # pyright: ignore[reportMissingImports] - an optional extra
from memollm.evaluation.base import MemoryUse
from memollm.kvpress.inside.holding import held
from memollm.kvpress.inside.patching import (
    hidden_pairs,
    hides,
    with_attention,
)
from memollm.kvpress.inside.positions import with_cache_positions
from memollm.kvpress.inside.tracing import Trace


class PressSession:
    """A cache whose first tokens, all that the first call brings, are compressed.

    What a press kept lies in no order; every later token sees all of it, and positions are
    carried here, never read off the cache's length.
    """

    def __init__(self, model: PreTrainedModel, press: Any, seed: int, ledger: bool = False) -> None:
        self.model, self.cache = model, DynamicCache()
        # What is hidden behind fake keys, by layer: kvpress keeps it in the model, for one cache.
        self.hidden: dict[int, Any] = hidden_pairs(model)
        self._press, self._seed = press, seed
        self._seen = self._position = 0  # tokens fed; position of the next one
        self._singly = False
        self._trace = Trace() if ledger else None
        self._kept: list[set[int]] = []  # by layer, positions of the context
        self._context = 0  # tokens

    def forward(
        self,
        ids: Int[Tensor, "batch queries"],
        mask: Bool[Tensor, "batch queries"] | None = None,
        last_only: bool = False,
    ) -> Float[Tensor, "batch _ vocabulary"]:
        """The context, in the first call; what follows it, in later ones.

        Raises:
            ValueError: for padding, which a press would keep as sinks; or if every logit of a
                context is asked for: none of them knows of the press.
        """
        if mask is not None and not bool(mask.all()):
            raise ValueError(
                "mode=kvpress takes no padding: presses know of no mask, and keep pads as the "
                "first tokens of a text"
            )
        ids = ids.to(self.model.device)
        if self._seen:
            return self._follow(ids, last_only)
        if not last_only:
            raise ValueError(
                "mode=kvpress has no logits of its context: a press compresses after the first "
                "forward pass, so that what is scored in it says nothing of the press"
            )
        return self._compress(ids)

    def memory_use(self) -> MemoryUse:
        """What is held in fact, fake keys' slots among the bytes and not among the kept."""
        return held(self.cache, self.hidden, self._seen)

    def forgotten(self, positions: Sequence[int]) -> list[list[int | None]]:
        """Per layer, the length of the context for each token that no head keeps; None: kept.

        No layers where the press changed its keys, so that nobody can tell which they were.

        Raises:
            RuntimeError: if the session was opened without a ledger.
        """
        if self._trace is None:
            raise RuntimeError("this session notes nothing: open it with ledger=True")
        return [
            [self._context if it < self._context and it not in kept else None for it in positions]
            for kept in self._kept
        ]

    def _compress(self, ids: Tensor) -> Tensor:
        eager = "eager" if _of(self._press, kvpress.ObservedAttentionPress) else None
        with (
            _drawing(self._seed, ids),
            with_attention(self.model, eager),
            with_cache_positions(self.model),
            nullcontext() if self._trace is None else self._trace.watching(self.model, self.cache),
            self._press(self.model),
        ):
            try:
                logits = self._step(ids, last_only=True)
            except AssertionError as error:
                raise ValueError(
                    f"{type(self._press).__name__} refuses a context of {ids.shape[1]} tokens: "
                    f"{error}"
                ) from error
        self.hidden = hidden_pairs(self.model)
        lengths = {self.cache.get_seq_length(layer) for layer in range(len(self.cache.layers))}
        # One mask serves all layers of a forward pass, and one fake key all its queries.
        self._singly = len(lengths) > 1 or hides(self.model)
        self._seen = self._position = self._context = ids.shape[1]
        if self._trace is not None:
            self._kept = self._trace.kept(self.cache, self.hidden)
        if _of(self._press, kvpress.KeyRerotationPress):  # keys stand side by side again
            self._position = max(lengths)
        return logits

    def _follow(self, ids: Tensor, last_only: bool) -> Tensor:
        logits = []
        for part in ids.split(1 if self._singly else ids.shape[1], dim=1):
            logits.append(self._step(part, last_only))
            self._seen += part.shape[1]
            self._position += part.shape[1]
        return logits[-1] if last_only else torch.cat(logits, dim=1)

    def _step(self, ids: Tensor, last_only: bool) -> Tensor:
        positions = torch.arange(ids.shape[1], device=ids.device) + self._position
        out: Any = self.model(
            input_ids=ids,
            past_key_values=self.cache,
            position_ids=positions.expand_as(ids),
            use_cache=True,
            logits_to_keep=int(last_only),
        )
        return out.logits


def _of(press: Any, cls: type) -> bool:
    """Whether ``press``, or one that it wraps, is a ``cls``."""
    inner = [*vars(press).values()]
    inner += [it for value in inner if isinstance(value, list) for it in value]
    return isinstance(press, cls) or any(
        _of(it, cls) for it in inner if isinstance(it, kvpress.BasePress)
    )


@contextmanager
def _drawing(seed: int, ids: Tensor) -> Iterator[None]:
    """Random numbers that are decided by the seed and the context, not by what ran before."""
    text = repr((seed, ids.tolist())).encode()
    devices = [ids.device] if ids.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1)
        yield
