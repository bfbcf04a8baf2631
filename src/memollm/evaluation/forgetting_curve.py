"""The forgetting curve of the model: what a token costs when the past beyond an age is gone."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from memollm.evaluation.base import Metric, Sample, Subject
from memollm.evaluation.breakdown import ratio
from memollm.evaluation.curve_fit import FAMILIES, fit
from memollm.evaluation.jackknife import jackknife
from memollm.evaluation.probe import Probe, probe_of
from memollm.evaluation.streaming import opening, score
from memollm.evaluation.text import TextEvaluation, require_one_text, tokenise
from memollm.evaluation.windows import Window, excerpts
from memollm.registry import register

KEY = "evaluation.forgetting_curve"
UNITS: dict[str, tuple[str, bool | None]] = {  # of what is fitted
    "strength": ("time", None),  # what memory_strength is counted in
    "scale": ("tokens", None),
    "decay": ("exponent", None),
    "benefit": ("nats/token", None),
    "r2": ("share", True),
}


@register("evaluation", "forgetting_curve")
@dataclass
class ForgettingCurve(TextEvaluation):
    """Benefit of old context by its age, and the memory strength that would mirror it.

    Every window of ``context`` tokens is scored once in full and once for each age t: in all
    attention layers each query sees only the last t tokens, itself among them, and the first
    ``sinks``. That is what a memory of constant strength in all layers leaves, forgetting after
    every token. The same last ``targets`` tokens are scored each time:

    ``nll_lost_age_<t>``: their mean loss minus that with the full context, in nats a token. 0 from
    t = context on. What layers pass on reaches back further than t, so that this is the cost of
    old keys and values, not of all knowledge of the old text.

    Two curves are fitted to it, as ``curve_fit`` says. ``strength_<family>`` is the time scale
    times ``time_step``, so that the curve is the memory's own with ``memory_strength`` set to it
    (and ``retention=<family>``, ``retention.decay=``): a memory that forgets what nothing
    rehearses when the benefit of all that is older has fallen to the share ``threshold``.

    Standard errors are clustered by document, or by window where only one document is long
    enough; those of the fits are jackknifed over the same clusters. It is the untouched model that
    is measured, whatever the mode.
    """

    key = KEY
    brief = {"ages": [16, 64, 128], "context": 512, "targets": 128, "windows": 2}

    ages: list[int] = field(default_factory=lambda: [16, 32, 64, 128, 256, 512, 1024])  # tokens
    context: int = 2048  # tokens of a window
    targets: int = 1024  # last tokens of it that are scored
    windows: int = 8  # as many as there are, at most
    sinks: int = 4  # first tokens that stay visible
    time_step: float = 0.01  # time that passes with a token; yaml: the memory's

    def __post_init__(self) -> None:
        if self.context < 2:
            _refuse("context", self.context, "it must be at least 2")
        if not 1 <= self.targets < self.context:
            _refuse("targets", self.targets, f"it must lie in [1, {KEY}.context={self.context})")
        if not self.ages or min(self.ages) < 1 or len(set(self.ages)) < len(self.ages):
            _refuse("ages", self.ages, "give different whole numbers of tokens, each >= 1")
        if self.windows < 1:
            _refuse("windows", self.windows, "it must be at least 1")
        if self.sinks < 0:
            _refuse("sinks", self.sinks, "it must be at least 0")
        if not 0 < self.time_step < math.inf:
            _refuse("time_step", self.time_step, "it must be > 0")
        if len(self._fitted) < 3:
            _refuse(
                "ages",
                self.ages,
                f"a curve needs three that are shorter than {KEY}.context={self.context}",
            )

    @property
    def _fitted(self) -> list[int]:
        """Ages at which something can be lost."""
        return sorted(age for age in self.ages if age < self.context)

    def fits(self, model: str, limit: int) -> None:
        if self.context > limit:
            _refuse("context", self.context, f"{model} takes at most {limit} tokens")

    def check(self, subject: Subject) -> None:
        self.fits(subject.name, subject.max_length)
        probe_of(subject, KEY)
        if not self._windows(subject):
            longest = max(map(len, self._documents(subject)))
            raise ValueError(
                f"{KEY}.text={self.text!r} has no document of {KEY}.context={self.context} tokens "
                f"(the longest has {longest}); choose a longer text or a shorter context"
            )

    def size(self, subject: Subject) -> int:
        return len(self._windows(subject))

    def samples(self, subject: Subject, done: Collection[str] = ()) -> Iterator[Sample]:
        probe, documents = probe_of(subject, KEY), self._documents(subject)
        chosen = self._windows(subject)
        by_document = len({window.document for window in chosen}) > 1
        for window in chosen:
            if window.name not in done:
                text = documents[window.document][window.start : window.stop]
                ids = [*opening(subject.tokenizer), *text]
                yield {
                    "id": window.name,
                    "cluster": str(window.document) if by_document else window.name,
                    "tokens": self.targets,
                    **self._measure(subject, probe, ids),
                    "text": self._text.fingerprint,
                }

    def metrics(self, samples: Sequence[Sample]) -> dict[str, Metric]:
        require_one_text(samples, f"{KEY}.text={self.text!r}")
        clusters: dict[str, list[Sample]] = {}
        for sample in sorted(samples, key=lambda sample: sample["id"]):
            clusters.setdefault(sample["cluster"], []).append(sample)
        groups = list(clusters.values())
        n = sum(sample["tokens"] for sample in samples)
        found = {"nll_full": _loss(groups, None, n)}
        for age in sorted(self.ages):
            found[f"nll_lost_age_{age}"] = _loss(groups, age, n)
        for family in FAMILIES:
            fitted = jackknife(lambda some, family=family: self._fit(family, some), groups)
            for name, (value, error) in fitted.items():
                unit, better = UNITS[name]
                found[f"{name}_{family}"] = Metric(value, unit, better, n, error)
        return found

    def _fit(self, family: str, clusters: Sequence[Sequence[Sample]]) -> dict[str, float]:
        lost = [_loss(clusters, age, 0).value for age in self._fitted]
        contexts = range(self.context - self.targets, self.context)
        found = fit(family, self._fitted, lost, contexts)
        decay = {} if found.decay is None else {"decay": found.decay}
        scale = {"strength": found.scale * self.time_step, "scale": found.scale}
        return {**scale, **decay, "benefit": found.benefit, "r2": found.r2}

    def _measure(self, subject: Subject, probe: Probe, ids: Sequence[int]) -> Sample:
        """The summed loss of the targets, in full and for each age."""

        def loss(window: int) -> float:
            with probe.windowed(window, self.sinks) as session:
                losses = score(session, ids, subject.prefill_chunk, subject.device)
            return math.fsum(losses[-self.targets :].tolist())

        by_age = {str(age): loss(age) for age in sorted(self.ages)}
        return {"nll_full": loss(self.context), "nll_by_age": by_age}

    def _documents(self, subject: Subject) -> tuple[tuple[int, ...], ...]:
        return tokenise(self._text.documents, subject.tokenizer)

    def _windows(self, subject: Subject) -> list[Window]:
        room = self.context - len(opening(subject.tokenizer))
        return excerpts(map(len, self._documents(subject)), room, self.windows)


def _loss(clusters: Sequence[Sequence[Sample]], age: int | None, n: int) -> Metric:
    """Mean loss of a target; with an ``age``, how much more it is than with the full context."""
    parts = []
    for samples in clusters:
        full = math.fsum(it["nll_full"] for it in samples)
        old = full if age is None else math.fsum(it["nll_by_age"][str(age)] for it in samples)
        parts.append((full if age is None else old - full, sum(it["tokens"] for it in samples)))
    value, error = ratio(parts)
    return Metric(value, "nats/token", False, n, error)


def _refuse(name: str, value: object, why: str) -> None:
    raise ValueError(f"{KEY}.{name}={value} is not allowed: {why}")
