"""Tasks of EleutherAI's lm-eval, answered through the memory.

lm-eval, which takes seconds to import, is met in the ``harness`` folder beside this file, when
there is something to measure.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memollm.evaluation.base import Evaluation, Metric, Sample, Subject
from memollm.evaluation.harness.feeling import can_feel
from memollm.evaluation.harness.too_long import TooLong
from memollm.registry import register

if TYPE_CHECKING:
    from memollm.evaluation.harness.model import StreamedLM
    from memollm.evaluation.harness.suite import Document, Suite

KEY = "evaluation.lm_eval"


@register("evaluation", "lm_eval")
@dataclass
class LMEval(Evaluation):
    """lm-eval's requests, filters and metrics; a sample is one document of one task.

    Every request meets a fresh memory and is streamed through it, so that a score can feel
    forgetting. Many benchmarks cannot: their prompts are shorter than what the memory keeps for
    certain. ``<task>_can_feel_forgetting`` is the share of documents of which that is not so; at
    0 a task's score is the baseline's, and says nothing about the memory.

    Metrics are ``<task>_<metric>``, with ``_<filter>`` where lm-eval names one. Standard errors
    are over documents: lm-eval's own of a mean, the delta method for perplexities of documents;
    those that lm-eval would bootstrap are left out. ``accuracy``, ``score``, ``perplexity`` (per
    token) and ``can_feel_forgetting`` are over all documents that have one, of whatever task.

    The bundled tasks need no network: ``memollm_long`` and ``memollm_short`` ask for a number in
    a long and a short text, ``memollm_novel`` is the perplexity of long documents. Others are
    found by name, as lm-eval finds them; most of them load their documents from the hub.
    """

    instead_of_limit = "limit (documents of each task)"
    brief = {"limit": 2}

    tasks: list[Any] = field(  # names, YAML files, or whole configurations
        default_factory=lambda: ["memollm_long", "memollm_short"]
    )
    include_path: str | None = None  # a folder of further tasks (YAML)
    num_fewshot: int | None = None  # examples before each question; null: as the task says
    limit: int | None = None  # documents of each task; null: all
    batch_size: int = 1  # requests a forward pass; answers do not depend on it
    too_long: TooLong = TooLong.refuse  # prompts that are longer than the model's context
    apply_chat_template: bool = False
    metadata: dict[str, Any] = field(default_factory=dict)  # what some tasks, as RULER's, are told
    confirm_run_unsafe_code: bool = False  # tasks that run what the model wrote
    seed: int = 0  # of the examples drawn for ``num_fewshot``

    def __post_init__(self) -> None:
        if not self.tasks:
            raise ValueError(f"{KEY}.tasks=[] is not allowed, it must name at least one")
        for name, least in (("num_fewshot", 0), ("limit", 1), ("batch_size", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(
                    f"{KEY}.{name}={value} is not allowed, it must be at least {least}"
                )
        if self.include_path is not None and not Path(self.include_path).expanduser().is_dir():
            raise ValueError(f"{KEY}.include_path={self.include_path!r} is no folder")

    @functools.cached_property
    def _suite(self) -> Suite:
        from memollm.evaluation.harness import suite

        return suite.load(
            self.tasks,
            include_path=self.include_path,
            metadata=self.metadata,
            num_fewshot=self.num_fewshot,
            limit=self.limit,
            seed=self.seed,
            key=f"{KEY}.tasks",
        )

    def prepare(self) -> None:
        for name, task in self._suite.tasks.items():
            if getattr(task, "UNSAFE_CODE", False) and not self.confirm_run_unsafe_code:
                raise ValueError(
                    f"{KEY}.tasks: {name} runs what the model writes; allow it with "
                    f"{KEY}.confirm_run_unsafe_code=true"
                )

    def fingerprint(self) -> str:
        return self._suite.fingerprint()

    def check(self, subject: Subject) -> None:
        lm = self._model(subject)
        if self.apply_chat_template and not lm.tokenizer.chat_template:
            raise ValueError(
                f"{KEY}.apply_chat_template=true is not allowed: the tokenizer of {subject.name} "
                "has no chat template"
            )
        for document in self._suite.documents(lm, self.apply_chat_template):
            for request in document.requests:
                lm.require_room(lm.fed(request), f"{KEY}.tasks: {document.name}")

    def size(self, subject: Subject) -> int:
        return self._suite.size()

    def samples(self, subject: Subject, done: Collection[str] = ()) -> Iterator[Sample]:
        lm = self._model(subject)
        documents = self._suite.documents(lm, self.apply_chat_template)
        missing = [document for document in documents if document.name not in done]
        for batch in _batches(missing, self.batch_size):
            self._suite.answer(lm, batch)
            uses = lm.drain()
            memory = asdict(max(uses, key=lambda use: use.seen_tokens)) if uses else None
            for document in batch:
                sample = self._sample(subject, lm, document)
                alone = memory is not None and self.batch_size == 1
                yield {**sample, "memory": memory} if alone else sample

    def metrics(self, samples: Sequence[Sample]) -> dict[str, Metric]:
        from memollm.evaluation.harness.summary import summarise

        return summarise(self._suite, samples)

    def _model(self, subject: Subject) -> StreamedLM:
        from memollm.evaluation.harness.model import GeneratingSubject, StreamedLM
        from memollm.evaluation.harness.suite import quiet

        if not isinstance(subject, GeneratingSubject):
            raise ValueError(
                f"evaluation=[lm_eval] is not allowed with {subject.name}: lm-eval generates with "
                "a Hugging Face model, and this subject has none"
            )
        with quiet():  # of hints about a model that is loaded already
            return StreamedLM(subject, batch_size=self.batch_size, too_long=self.too_long)

    def _sample(self, subject: Subject, lm: StreamedLM, document: Document) -> Sample:
        from memollm.evaluation.harness.summary import outcome
        from memollm.evaluation.harness.telling import told

        task, scores = self._suite.tasks[document.task], self._suite.score(document)
        fed = [lm.fed(request) for request in document.requests]
        sample: Sample = {
            "id": document.name,
            "task": document.task,
            "prompt_hash": fed[0].prompt_hash,
            "tokens": max(len(it.ids) for it in fed),  # of the longest request, generated or not
            "cut": max(it.cut for it in fed),
            **told(task, document),
            "replies": [list(request.resps) for request in document.requests],
            "metrics": scores,
            **outcome(task, document, scores),
        }
        if subject.has_memory:
            certain = lm.subject.keeps_for_certain
            sample["can_feel_forgetting"] = any(
                can_feel(len(it.ids) - it.cut, subject.prefill_chunk, certain, it.decoded)
                for it in fed
            )
        return sample


def _batches(documents: Sequence[Document], size: int) -> Iterator[list[Document]]:
    """Up to ``size`` documents of one task at a time, in order."""
    batch: list[Document] = []
    for document in documents:
        if batch and (len(batch) == size or batch[0].task != document.task):
            yield batch
            batch = []
        batch.append(document)
    if batch:
        yield batch
