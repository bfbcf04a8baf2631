"""How well a text is continued from what was kept of it, once it had been read."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import torch

from memollm.evaluation.base import Metric, Sample, Subject
from memollm.evaluation.breakdown import ratio
from memollm.evaluation.streaming import opening, score
from memollm.evaluation.tasks.example import prompt_hash
from memollm.evaluation.text import TextEvaluation, byte_length, require_one_text, tokenise
from memollm.registry import register

KEY = "evaluation.continuation"


@register("evaluation", "continuation")
@dataclass
class Continuation(TextEvaluation):
    """Perplexity of what follows a context: read first, forgotten from, then continued.

    Each window is a fresh cache. Its first ``context`` tokens are fed and not scored; the
    ``scored`` tokens after them are, teacher forced. So a method that compresses once, after
    prefill (the presses of kvpress), is measured where it acts, on the same tokens as one that
    forgets all along. The last token of the context is fed with the continuation: the logits it
    would leave are those before any compression.

    Windows are spread evenly over the text, or lie end to end where it holds no more. Standard
    errors are clustered by window.
    """

    key = KEY
    outcome = "nll"
    brief = {"context": 256, "scored": 32, "windows": 2}

    context: int = 2048  # tokens that are read, not scored; >= 2
    scored: int = 128  # tokens of the continuation, >= 1
    windows: int = 32  # at most

    def __post_init__(self) -> None:
        for name, least in (("context", 2), ("scored", 1), ("windows", 1)):
            if getattr(self, name) < least:
                _refuse(name, getattr(self, name), f"it must be at least {least}")

    def fits(self, model: str, limit: int) -> None:
        if self.context + self.scored > limit:
            together = f"with scored={self.scored} that is {self.context + self.scored} tokens"
            _refuse("context", self.context, f"{together}, {model} takes at most {limit}")

    def check(self, subject: Subject) -> None:
        self.fits(subject.name, subject.max_length)
        tokens = len(self._stream(subject))
        if tokens < self._fed(subject):
            _refuse("context", self.context, f"text={self.text!r} holds {tokens} tokens")

    def size(self, subject: Subject) -> int:
        return len(self._starts(subject))

    def samples(self, subject: Subject, done: Collection[str] = ()) -> Iterator[Sample]:
        for start in self._starts(subject):
            if str(start) not in done:
                yield self._measure(subject, start)

    def metrics(self, samples: Sequence[Sample]) -> dict[str, Metric]:
        require_one_text(samples, f"{KEY}.text={self.text!r}")
        nll, error = ratio([(it["nll"], it["tokens"]) for it in samples])
        bits, bits_error = ratio([(it["nll"] / math.log(2), it["bytes"]) for it in samples])
        n = sum(it["tokens"] for it in samples)
        perplexity = math.exp(nll)
        doubt = None if error is None else perplexity * error  # delta method
        return {
            "perplexity": Metric(perplexity, "per token", False, n, doubt),
            "nll": Metric(nll, "nats/token", False, n, error),
            "bits_per_byte": Metric(bits, "bits/byte", False, n, bits_error),
        }

    def _measure(self, subject: Subject, start: int) -> Sample:
        head, stream = opening(subject.tokenizer), self._stream(subject)
        stop = start + self._fed(subject)
        ids = [*head, *stream[start:stop]]
        read = self.context - 1
        with subject.session() as session, torch.no_grad():
            session.forward(torch.tensor([ids[:read]], device=subject.device), last_only=True)
            losses = score(session, ids[read:], subject.prefill_chunk, subject.device)
            memory = dataclasses.asdict(session.memory_use())
        return {
            "id": str(start),
            "prompt_hash": prompt_hash(tuple(ids)),
            "fed": [start, stop],  # tokens of the text
            "scored": [stop - self.scored, stop],
            "tokens": self.scored,
            "bytes": byte_length(subject.tokenizer, stream, stop - self.scored, stop),
            "nll": math.fsum(losses.tolist()),
            "memory": memory,
            "text": self._text.fingerprint,
        }

    def _fed(self, subject: Subject) -> int:
        """Tokens of the text in a window; what opens it counts into the context."""
        return self.context + self.scored - len(opening(subject.tokenizer))

    def _stream(self, subject: Subject) -> tuple[int, ...]:
        return tokenise((self._text.joined,), subject.tokenizer)[0]

    def _starts(self, subject: Subject) -> list[int]:
        room, fed = len(self._stream(subject)), self._fed(subject)
        count = min(self.windows, room // fed)
        return [i * room // count for i in range(count)]


def _refuse(name: str, value: object, why: str) -> None:
    raise ValueError(f"{KEY}.{name}={value} is not allowed: {why}")
