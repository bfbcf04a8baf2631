"""Tokens as they are generated: shown one by one, and when each of them came."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from transformers import PreTrainedTokenizerBase
from transformers.generation.streamers import BaseStreamer

UNFINISHED = "\ufffd"  # what a character decodes to whose last byte is still to come


class Stream(BaseStreamer):
    """Takes the tokens of one sequence from ``generate(streamer=...)``.

    Args:
        tokenizer: of the model.
        show: given the text that each token adds; None: nothing is decoded, so that what is timed
            is the model alone.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, show: Callable[[str], None] | None = None
    ) -> None:
        self.ids: list[int] = []  # generated, without the prompt
        self.times: list[float] = []  # of each, on time.perf_counter's clock
        self.prompt_tokens = 0
        self._tokenizer, self._show = tokenizer, show
        self._shown = 0  # characters
        self._begun = False

    def put(self, value: torch.Tensor) -> None:
        """The prompt first, then each new token.

        Raises:
            ValueError: for more than one sequence.
        """
        if value.dim() > 1 and len(value) > 1:
            raise ValueError(f"a stream shows one sequence, and was given {len(value)}")
        if not self._begun:
            self._begun, self.prompt_tokens = True, value.numel()
            return
        self.times.append(time.perf_counter())
        self.ids += value.flatten().tolist()
        if self._show is not None:
            text = self._text()
            if not text.endswith(UNFINISHED):
                self._say(text)

    def end(self) -> None:
        """Show what was held back."""
        if self._show is not None:
            self._say(self._text())

    def _text(self) -> str:
        return str(self._tokenizer.decode(self.ids, skip_special_tokens=True))

    def _say(self, text: str) -> None:
        assert self._show is not None
        if len(text) > self._shown:
            self._show(text[self._shown :])
            self._shown = len(text)
