"""Fidelity: how far a model under a memory is from the same model without, on the same tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import torch

from memollm.evaluation.base import Metric, Sample, Subject
from memollm.evaluation.divergence import Divergence, common, continuation
from memollm.evaluation.liveness import require_effect
from memollm.evaluation.probe import probe_of
from memollm.evaluation.streaming import opening
from memollm.evaluation.text import TextEvaluation, require_one_text, tokenise
from memollm.evaluation.windows import Window, excerpts
from memollm.registry import register

KEY = "evaluation.fidelity"
MASKED = "bytes (masked: saves 0 bytes)"
UNITS: dict[str, tuple[str, bool | None]] = {
    "kl_mean": ("nats/token", False),
    "kl_p95": ("nats/token", False),
    "agreement": ("share", True),
    "first_divergence": ("tokens", True),
    "saved_bytes": ("bytes", True),
}
BY_LAYER: dict[str, tuple[str, bool | None]] = {
    "kept_share": ("share", None),
    "mass_lost": ("share", False),
    "output_error": ("relative L2", False),
}


@register("evaluation", "fidelity")
@dataclass
class Fidelity(TextEvaluation):
    """Distance to the untouched model, of what is said and layer by layer.

    Every window of ``context`` tokens goes through both, ``prefill_chunk`` tokens at a time, so
    that they differ in nothing but the memory. Of the window's tokens, teacher forced:

    ``kl_mean``       mean KL(p || q) of the next token's distributions, p the untouched model's
    ``kl_p95``        95th percentile of the same within a window
    ``agreement``     share of tokens after which both find the same next token likeliest

    and, of a greedy continuation of ``new_tokens`` tokens by each,

    ``first_divergence``  tokens before the two differ; ``new_tokens`` where they do not

    By layer l of the model:

    ``kept_share_layer_<l>``    tokens that the next query sees, at the window's end, as a share of
                                those that it sees in the untouched model
    ``mass_lost_layer_<l>``     attention that the untouched model pays, in this layer, to tokens
                                that this layer has forgotten; mean over heads and queries
    ``output_error_layer_<l>``  ||o' - o|| / ||o||, Frobenius norms over the window, of what the
                                heads put out (before the output projection), o the untouched
                                model's. Whole models are compared, end to end: a layer's error
                                contains what the layers below it hand on

    ``saved_bytes``: what the cache holds less than the untouched model's, the memory's own state
    included; where what is forgotten is only masked, the unit says so. Metrics are means over
    windows. A layer without memory keeps all and loses no mass; soft deletion keeps all everywhere
    and shows in the rest.

    The first window is also checked for life (``liveness``): a method that says it forgot, and
    changed no later logit or freed no byte, fails the run.
    """

    key = KEY
    brief = {"context": 512, "windows": 1, "new_tokens": 8}

    context: int = 4096  # tokens of a window
    windows: int = 4  # as many as there are, at most
    new_tokens: int = 32  # of the greedy continuation

    def __post_init__(self) -> None:
        for name, least in (("context", 2), ("windows", 1), ("new_tokens", 1)):
            if getattr(self, name) < least:
                value = getattr(self, name)
                raise ValueError(
                    f"{KEY}.{name}={value} is not allowed, it must be at least {least}"
                )

    def fits(self, model: str, limit: int) -> None:
        if self.context + self.new_tokens > limit:
            raise ValueError(
                f"{KEY}.context={self.context} and new_tokens={self.new_tokens} are not allowed: "
                f"{model} takes at most {limit} tokens"
            )

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
        documents, windows = self._documents(subject), self._windows(subject)
        for window in windows:
            if window.name in done:
                continue
            text = documents[window.document][window.start : window.stop]
            ids = [*opening(subject.tokenizer), *text]
            alive = None
            if window is windows[0] and subject.has_memory:
                alive = dataclasses.asdict(require_effect(subject, ids))
            yield {
                "id": window.name,
                "tokens": len(ids),
                **self._measure(subject, ids),
                "effect": alive,
                "text": self._text.fingerprint,
            }

    def metrics(self, samples: Sequence[Sample]) -> dict[str, Metric]:
        require_one_text(samples, f"{KEY}.text={self.text!r}")
        ordered = sorted(samples, key=lambda sample: sample["id"])
        found = {
            name: Metric.mean([float(sample[name]) for sample in ordered], unit, better)
            for name, (unit, better) in UNITS.items()
        }
        if any(sample["masked"] for sample in ordered):
            found["saved_bytes"] = dataclasses.replace(found["saved_bytes"], unit=MASKED)
        for name, (unit, better) in BY_LAYER.items():
            for layer in ordered[0][name]:
                values = [sample[name][layer] for sample in ordered]
                found[f"{name}_layer_{layer}"] = Metric.mean(values, unit, better)
        return found

    @torch.no_grad()
    def _measure(self, subject: Subject, ids: Sequence[int]) -> Sample:
        plain = subject.untouched()
        mine, theirs = probe_of(subject, KEY), probe_of(plain, KEY)
        tokens = torch.tensor([list(ids)], device=subject.device)
        divergence = Divergence()
        ours = dense = mine_last = plain_last = None
        for part in tokens.split(subject.prefill_chunk, dim=1):
            with mine.watching(ours) as seen:
                ours = seen.session
                visible = mine.visible(ours)  # forgetting happens at a chunk's end
                logits = ours.forward(part)[0]
            with theirs.watching(dense) as reference:
                dense = reference.session
                others = dense.forward(part)[0]
            divergence.logits(others, logits)
            divergence.mass(reference.weights, visible)
            divergence.outputs(reference.outputs, seen.outputs)
            mine_last, plain_last = logits[-1], others[-1]
        assert ours and dense and mine_last is not None and plain_last is not None
        memory, whole = ours.memory_use(), dense.memory_use()
        shares = zip(memory.kept_tokens, whole.kept_tokens, strict=True)
        answers = [
            continuation(*it, self.new_tokens)
            for it in ((subject, ours, mine_last), (plain, dense, plain_last))
        ]
        return {
            **divergence.found(),
            "first_divergence": common(*answers),
            "kept_share": {
                str(layer): kept / held for layer, (kept, held) in enumerate(shares) if held
            },
            "saved_bytes": memory.kv_bytes_baseline - memory.kv_bytes,
            "masked": not mine.evicts and memory.kept_tokens != whole.kept_tokens,
            "memory": dataclasses.asdict(memory),
        }

    def _documents(self, subject: Subject) -> tuple[tuple[int, ...], ...]:
        return tokenise(self._text.documents, subject.tokenizer)

    def _windows(self, subject: Subject) -> list[Window]:
        room = self.context - len(opening(subject.tokenizer))
        return excerpts(map(len, self._documents(subject)), room, self.windows)
