"""Speed and size: what forgetting costs a decoded token, and what it saves."""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import psutil
import torch
from jaxtyping import Int
from torch import Tensor

from memollm.evaluation.bandwidth import ReadBenchmark
from memollm.evaluation.base import Metric, Sample, Subject
from memollm.evaluation.clock import Clock, quiet, reading
from memollm.evaluation.pace import AGAIN, SUBJECT, UNTOUCHED, at_context
from memollm.evaluation.race import race
from memollm.evaluation.streaming import opening
from memollm.evaluation.text import TextEvaluation, require_one_text, tokenise
from memollm.registry import register

KEY = "evaluation.speed"


@register("evaluation", "speed")
@dataclass
class Speed(TextEvaluation):
    """Prefill, decoding and memory, beside the untouched model in the same process.

    A sample is one round at one context: the subject and the untouched model each read a prompt
    of real text (so that what is evicted is what this memory evicts), then decode in turns, in
    random order, fed the text that follows. Prompt and decoded tokens together take ``context``
    tokens exactly. Every sample has the raw timings, the tokens kept, and what the machine was
    doing. Left out of every timing: a warm-up, and attaching the memory (but for the time to first
    token).

    ``decode_ratio_to_baseline``: time of the untouched model by time of the subject, each the mean
    of a turn, so that steps that evict count as often as they come; the median over turns. More
    than 1 is faster. In a context's first round a second untouched model runs along:
    ``aa_ratio`` is it against the first, 1 but for noise, and ``aa_noise`` the deviation from
    1 below which a decode ratio is noise, too (the check's own deviation and two standard errors).

    ``bandwidth_fraction``: bytes of weights and cache that a step has to read, by its time, as a
    share of what this machine reads (see ``bandwidth``): 1 is the limit for a model that does
    not fit into the processor's caches. ``peak_bytes``: most memory held at a time, from empty
    cache to first token, the model itself not counted.

    Metrics are for the longest context; those of each have its number at the end. One thread, and
    its processor time, are the default on a CPU: where anything else runs, threads that wait for
    each other measure that. Absolute times depend on the machine; compare ratios.
    """

    key = KEY
    timed = True
    instead_of_limit = "rounds, turns or contexts"
    brief = {"contexts": [256], "rounds": 1, "turns": 2}

    contexts: list[int] = field(default_factory=lambda: [512, 4096])  # tokens
    rounds: int = 2  # prompts a context, each another stretch of the text
    turns: int = 9  # of each variant in a round
    burst: int = 4  # tokens decoded in a turn, a few in a row, as when a model decodes alone
    batch: int = 1  # rows, each another stretch of the text
    clock: Clock = Clock.auto
    threads: int | None = 1  # of torch, on a CPU; null: as many as it has
    seed: int = 0  # of the order

    def __post_init__(self) -> None:
        if not self.contexts or len(set(self.contexts)) < len(self.contexts):
            _refuse("contexts", self.contexts, "it must name at least one, and none twice")
        for name, least in (("rounds", 1), ("turns", 1), ("burst", 1), ("batch", 1)):
            if getattr(self, name) < least:
                _refuse(name, getattr(self, name), f"it must be at least {least}")
        if self.threads is not None and self.threads < 1:
            _refuse("threads", self.threads, "it must be at least 1, or null")
        if min(self.contexts) <= self.turns * self.burst:
            tokens = f"turns * burst = {self.turns * self.burst} tokens are decoded"
            _refuse("contexts", self.contexts, f"each must be longer than that: {tokens}")

    def fits(self, model: str, limit: int) -> None:
        if max(self.contexts) > limit:
            _refuse("contexts", self.contexts, f"{model} takes at most {limit} tokens")

    def check(self, subject: Subject) -> None:
        longest = max(self.contexts)
        self.fits(subject.name, subject.max_length)
        if self.clock is Clock.cpu and subject.device.type != "cpu":
            _refuse("clock", self.clock, f"it tells nothing of work on {subject.device}")
        if len(self._stream(subject)) < longest:
            tokens = len(self._stream(subject))
            _refuse("contexts", self.contexts, f"text={self.text!r} holds {tokens} tokens")

    def size(self, subject: Subject) -> int:
        return len(self.contexts) * self.rounds

    def samples(self, subject: Subject, done: Collection[str] = ()) -> Iterator[Sample]:
        missing = [
            (context, number)
            for context in self.contexts
            for number in range(self.rounds)
            if _name(context, number) not in done
        ]
        if not missing:
            return
        untouched = subject.untouched() if subject.has_memory else subject
        benchmark = ReadBenchmark(subject.device)
        self._warm_up(subject, untouched)
        for context, number in missing:
            yield self._measure(subject, untouched, context, number, benchmark)

    def metrics(self, samples: Sequence[Sample]) -> dict[str, Metric]:
        require_one_text(samples, f"{KEY}.text={self.text!r}")
        if not samples:
            raise ValueError("no rounds were run, so there is no speed")
        contexts = sorted({sample["context"] for sample in samples})
        each = {n: at_context([s for s in samples if s["context"] == n]) for n in contexts}
        headline = dict(each[contexts[-1]])
        numbered = {f"{name}_{n}": it for n in contexts for name, it in each[n].items()}
        return {**headline, **numbered}

    def _warm_up(self, subject: Subject, untouched: Subject) -> None:
        """Run everything once: what libraries set up on first use is not the model's speed."""
        short = subject.device.type == "cpu"  # a GPU's kernels are chosen by shape
        with self._quiet(subject):
            for context in [min(self.contexts)] if short else self.contexts:
                ids = self._rows(subject, context, 0)
                entrants = {SUBJECT: subject, UNTOUCHED: untouched}
                race(entrants, ids, 1, self.burst, random.Random(0), time.perf_counter)

    def _measure(
        self,
        subject: Subject,
        untouched: Subject,
        context: int,
        number: int,
        benchmark: ReadBenchmark,
    ) -> Sample:
        rng = random.Random(f"{self.seed}/{_name(context, number)}")
        entrants = {UNTOUCHED: untouched}
        if subject.has_memory:
            entrants[SUBJECT] = subject
        if number == 0:
            entrants[AGAIN] = untouched
        ids = self._rows(subject, context, number)
        load = psutil.getloadavg()[0]
        with self._quiet(subject) as threads:
            now = reading(self.clock, subject.device, threads)
            bandwidth = benchmark.measure(now)
            finishes = race(entrants, ids, self.turns, self.burst, rng, now)
        return {
            "id": _name(context, number),
            "context": context,
            "prompt": context - self.turns * self.burst,
            "batch": self.batch,
            "variants": {name: dataclasses.asdict(it) for name, it in finishes.items()},
            "memory": dataclasses.asdict(finishes.get(SUBJECT, finishes[UNTOUCHED]).memory),
            "weight_bytes": subject.weight_bytes,
            "bandwidth": bandwidth,  # bytes/s
            "clock": str(self.clock.on(subject.device, threads)),
            "threads": threads,
            "device": str(subject.device),
            "dtype": finishes[UNTOUCHED].dtype,
            "load_average": load,  # of the last minute, before the round
            "text": self._text.fingerprint,
        }

    def _quiet(self, subject: Subject) -> AbstractContextManager[int]:
        return quiet(self.threads if subject.device.type == "cpu" else None)

    def _stream(self, subject: Subject) -> tuple[int, ...]:
        return tokenise((self._text.joined,), subject.tokenizer)[0]

    def _rows(self, subject: Subject, context: int, number: int) -> Int[Tensor, "batch tokens"]:
        """Stretches of the text for a round, evenly spread over it."""
        stream, start = self._stream(subject), opening(subject.tokenizer)
        room = context - len(start)
        count = self.rounds * self.batch
        rows = []
        for row in range(number * self.batch, (number + 1) * self.batch):
            begin = row * (len(stream) - room) // count
            rows.append([*start, *stream[begin : begin + room]])
        return torch.tensor(rows, dtype=torch.long, device=subject.device)


def _name(context: int, number: int) -> str:
    return f"{context}/{number}"


def _refuse(name: str, value: object, why: str) -> None:
    raise ValueError(f"{KEY}.{name}={value} is not allowed: {why}")
