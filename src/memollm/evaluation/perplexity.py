"""Perplexity as a stream: how well text is predicted from what the memory kept of it."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from memollm.evaluation.base import Metric, Sample, Subject
from memollm.evaluation.breakdown import bucket, ratio, recurrence, tally
from memollm.evaluation.corpora import Corpus, corpora
from memollm.evaluation.streaming import opening, score
from memollm.evaluation.tasks.example import prompt_hash
from memollm.evaluation.text import TextEvaluation, byte_length, require_one_text, tokenise
from memollm.evaluation.windows import Window, affordable, spread, windows
from memollm.registry import register

KEY = "evaluation.perplexity"
RECURRING = 3  # tokens that must recur: two that name the place, and the one to predict


class Method(StrEnum):
    """How a text longer than the context is cut."""

    streaming = "streaming"  # end to end; every token scored with all the memory keeps
    strided = "strided"  # overlapping; only the last ``stride`` tokens scored


class Documents(StrEnum):
    """What a window may hold."""

    joined = "joined"  # one stream of all documents, an empty line between two
    separate = "separate"  # tokens of one document only


@register("evaluation", "perplexity")
@dataclass
class Perplexity(TextEvaluation):
    """Perplexity, bits per byte, and the loss by position and by distance.

    Every window is a fresh cache, fed ``prefill_chunk`` tokens at a time. A window is one
    sample. Where the text holds more than ``max_tokens``, the windows lie evenly over it; where
    it holds less, all there is is used, once, and each metric's ``n`` tells how many tokens that
    was. Several texts, ``text: [a, b]``, have a budget and metrics each, named ``<metric>_<label>``
    after the file or data set; there is no mean over them.

    Nothing is cut unsaid. A document longer than ``context`` is cut into windows of that length,
    and what stood before a window is out of its reach; ``cut_documents`` counts them, and a sample
    names its document, its length, and the tokens fed and scored. With ``context: null`` no
    document is cut: one that is longer than the model's positions is refused.

    ``nll_position_<a>_<b>``: tokens with a to b-1 tokens of their window before them.
    ``nll_distance_<a>_<b>``: tokens that end a sequence of three which last ended a to b-1 tokens
    ago in the same window: what a model could copy if it still knew that place.
    ``nll_distance_none`` is for the others. Far recurrences are rarer words than near ones, so
    compare a range between modes, not with its neighbour.

    Bits per byte divides by the UTF-8 bytes that the scored tokens decode to, which makes
    tokenizers comparable. Standard errors are clustered by window.

    ``method: strided`` with ``max_tokens: null`` is the recipe of Hugging Face's guide
    (huggingface.co/docs/transformers/perplexity); ``context`` is its max_length. Where the
    tokenizer has a BOS token, one opens every window and counts into ``context``; elsewhere a
    window's first token is fed and not scored, unless an earlier window scored it.

    The default scores 33 thousand tokens, about 110 kB of English, in 8 windows.
    """

    key = KEY
    outcome = "nll"
    brief = {"max_tokens": 1024, "context": 512}

    text: Any = "bundled"  # as evaluation.text.load reads it, or a list of such
    documents: Documents = Documents.joined
    max_tokens: int | None = 32768  # budget of tokens fed, of each text; null: all there is
    context: int | None = 4096  # tokens, the longest window; null: whole documents
    method: Method = Method.streaming
    stride: int = 512  # tokens, for ``strided``; at most ``context``

    def __post_init__(self) -> None:
        if self.context is None:
            if self.method is Method.strided:
                raise ValueError(
                    f"{KEY}.context=null is not allowed with method=strided: whole documents do "
                    "not overlap; give a context"
                )
            return
        if self.context < 2:
            raise ValueError(f"{KEY}.context={self.context} is not allowed, it must be at least 2")
        if self.method is Method.strided and not 1 <= self.stride <= self.context:
            raise ValueError(
                f"{KEY}.stride={self.stride} is not allowed, it must lie between 1 and "
                f"{KEY}.context={self.context}: a longer one would leave tokens out"
            )
        if self.max_tokens is not None and self.max_tokens < self.context:
            raise ValueError(
                f"{KEY}.max_tokens={self.max_tokens} is not allowed, it must hold one window of "
                f"{KEY}.context={self.context}; null takes all of the text"
            )

    def prepare(self) -> None:
        _ = self._corpora

    def fingerprint(self) -> str:
        return " ".join(corpus.text.fingerprint for corpus in self._corpora)

    def fits(self, model: str, limit: int) -> None:
        if self.context is not None and self.context > limit:
            raise ValueError(
                f"{KEY}.context={self.context} is not allowed: {model} takes at most {limit} tokens"
            )

    def check(self, subject: Subject) -> None:
        self.fits(subject.name, subject.max_length)
        for corpus in self._corpora:
            self._require_windows(subject, corpus)

    def size(self, subject: Subject) -> int:
        return sum(len(self._windows(subject, corpus)) for corpus in self._corpora)

    def samples(self, subject: Subject, done: Collection[str] = ()) -> Iterator[Sample]:
        for corpus in self._corpora:
            streams = self._streams(subject, corpus)
            for window in self._windows(subject, corpus):
                if corpus.sample(window.name) not in done:
                    yield self._measure(subject, corpus, streams[window.document], window)

    def metrics(self, samples: Sequence[Sample]) -> dict[str, Metric]:
        if not samples:
            raise ValueError("nothing was scored, so there is nothing to average")
        found = {}
        for corpus in self._corpora:
            those = [sample for sample in samples if sample["corpus"] == corpus.label]
            if those:
                require_one_text(those, f"{KEY}.text={corpus.text.source!r}")
                found |= {corpus.named(name): it for name, it in _scores(those).items()}
        return found

    @functools.cached_property
    def _corpora(self) -> tuple[Corpus, ...]:
        return corpora(self.text, self.column, f"{KEY}.text")

    def _require_windows(self, subject: Subject, corpus: Corpus) -> None:
        given = f"{KEY}.text={corpus.text.source!r}"
        lengths = [len(stream) for stream in self._streams(subject, corpus)]
        longest, extra = max(lengths), len(opening(subject.tokenizer))
        if longest < 2:
            raise ValueError(f"{given} has no document of two tokens or more")
        if self.context is None:
            if longest + extra > subject.max_length:
                raise ValueError(
                    f"{given} holds {longest} tokens in document {lengths.index(longest)}, and "
                    f"{subject.name} takes at most {subject.max_length - extra}; "
                    f"{KEY}.context=null feeds whole documents: give a context to cut them into "
                    f"windows of, or {KEY}.documents=separate if these are many joined"
                )
            if not self._windows(subject, corpus):
                raise ValueError(
                    f"{KEY}.max_tokens={self.max_tokens} is not allowed: {given} has no whole "
                    "document within it; null takes all of the text"
                )
        elif self.documents is Documents.joined and longest < self.context - extra:
            raise ValueError(
                f"{given} holds {longest} tokens, fewer than one window of "
                f"{KEY}.context={self.context}; choose a longer text or a shorter context"
            )

    def _streams(self, subject: Subject, corpus: Corpus) -> tuple[tuple[int, ...], ...]:
        joined = self.documents is Documents.joined
        documents = (corpus.text.joined,) if joined else corpus.text.documents
        return tokenise(documents, subject.tokenizer)

    def _windows(self, subject: Subject, corpus: Corpus) -> list[Window]:
        start = opening(subject.tokenizer)
        lengths = [len(stream) for stream in self._streams(subject, corpus)]
        room = max(lengths) if self.context is None else self.context - len(start)
        step = room if self.method is Method.streaming else min(self.stride, room)
        every = windows(lengths, max(room, 1), max(step, 1), opened=bool(start))
        if self.max_tokens is None:
            return every
        if self.context is None:
            return affordable(every, self.max_tokens)
        return spread(every, self.max_tokens // self.context)

    def _measure(
        self, subject: Subject, corpus: Corpus, stream: Sequence[int], window: Window
    ) -> Sample:
        start = opening(subject.tokenizer)
        ids = stream[window.start : window.stop]
        with subject.session() as session:
            losses = score(session, [*start, *ids], subject.prefill_chunk, subject.device)
            memory = dataclasses.asdict(session.memory_use())
        skipped = window.first - window.start  # tokens of the window that are context alone
        scored = losses[len(start) + skipped - 1 :].tolist()
        distances = recurrence(ids, RECURRING)[skipped:]
        far = ["none" if distance is None else bucket(distance) for distance in distances]
        return {
            "id": corpus.sample(window.name),
            "prompt_hash": prompt_hash((*start, *ids)),
            "corpus": corpus.label,
            "document": window.document,
            "document_tokens": len(stream),
            "fed": [window.start, window.stop],  # tokens of the document
            "scored": [window.first, window.stop],
            "tokens": len(scored),
            "bytes": byte_length(subject.tokenizer, stream, window.first, window.stop),
            "nll": math.fsum(scored),
            "position": tally(map(bucket, range(skipped, len(ids))), scored),
            "distance": tally(far, scored),
            "memory": memory,
            "text": corpus.text.fingerprint,
        }


def _scores(samples: Sequence[Sample]) -> dict[str, Metric]:
    """The metrics of the samples of one text."""
    nll = _mean_loss([(s["nll"], s["tokens"]) for s in samples], "nats/token")
    perplexity = math.exp(nll.value)
    error = None if nll.stderr is None else perplexity * nll.stderr  # delta method
    bits, bits_error = ratio([(s["nll"] / math.log(2), s["bytes"]) for s in samples])
    fed = {sample["document"] for sample in samples}
    cut = {s["document"] for s in samples if s["fed"] != [0, s["document_tokens"]]}
    found = {
        "perplexity": Metric(perplexity, "per token", False, nll.n, error),
        "nll": nll,
        "bits_per_byte": Metric(bits, "bits/byte", False, nll.n, bits_error),
        "cut_documents": Metric(float(len(cut)), "documents", None, len(fed)),
    }
    for axis in ("position", "distance"):
        names = {name for sample in samples for name in sample[axis]}
        for name in sorted(names, key=lambda name: (name == "none", name.zfill(20))):
            parts = [sample[axis][name] for sample in samples if name in sample[axis]]
            loss = _mean_loss([(total, count) for count, total in parts], "nats/token")
            found[f"nll_{axis}_{name}"] = loss
    return found


def _mean_loss(parts: Sequence[tuple[float, int]], unit: str) -> Metric:
    value, error = ratio(parts)
    return Metric(value, unit, False, int(sum(size for _, size in parts)), error)
