"""lm-eval's tasks without its evaluator: documents one after another, metrics at the end.

``simple_evaluate`` answers all requests before it says anything. Here a document is asked,
answered and scored by itself, with lm-eval's own requests, filters and metrics, so that a run
that was killed goes on from the document it had reached.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lm_eval.api.group import Group
from lm_eval.api.instance import Instance
from lm_eval.evaluator_utils import get_sample_size
from lm_eval.tasks import TaskManager

from memollm.evaluation.harness.model import StreamedLM
from memollm.registry import refusal

TASKS = Path(__file__).parent / "tasks"  # of this project, found by their names


@dataclass(frozen=True)
class Document:
    """One document of a task, and what the model is asked about it."""

    task: str
    number: int
    content: Any
    requests: tuple[Instance, ...]

    @property
    def name(self) -> str:
        return f"{self.task}/{self.number}"


@dataclass(frozen=True)
class Suite:
    """Tasks by name, and the groups that sum some of them up."""

    tasks: Mapping[str, Any]  # lm-eval's Task, whose abstract methods claim to return None
    groups: Mapping[str, Group]
    limit: int | None  # documents of each task

    def fingerprint(self) -> str:
        """A hash of everything asked: the tasks' settings, their documents, lm-eval's version."""
        digest = hashlib.sha256(version("lm-eval").encode())
        for name, task in sorted(self.tasks.items()):
            digest.update(_text([name, task.VERSION, task.dump_config()]))
            for _, content in self._contents(task):
                digest.update(_text(content))
        return digest.hexdigest()

    def size(self) -> int:
        """How many documents there are."""
        return sum(len(list(self._contents(task))) for task in self.tasks.values())

    def documents(self, lm: StreamedLM, chat: bool) -> list[Document]:
        """Every document with its requests; ``chat`` puts them into the model's chat template."""
        found = []
        for name, task in self.tasks.items():
            with quiet():
                task.build_all_requests(
                    limit=get_sample_size(task, self.limit),
                    apply_chat_template=chat,
                    fewshot_as_multiturn=chat,
                    chat_template=lm.apply_chat_template if chat else None,
                    tokenizer_name=lm.tokenizer_name if chat else "",
                )
            contents = dict(self._contents(task))
            by_document = itertools.groupby(
                sorted(task.instances, key=lambda it: (it.doc_id, it.idx)), lambda it: it.doc_id
            )
            for number, requests in by_document:
                assert number is not None
                found.append(Document(name, number, contents[number], tuple(requests)))
        return found

    def answer(self, lm: StreamedLM, documents: Sequence[Document]) -> None:
        """Put the requests of ``documents``, of one task, to the model, and filter its answers."""
        requests = [request for document in documents for request in document.requests]
        for kind in dict.fromkeys(request.request_type for request in requests):
            asked = [
                it for it in requests if it.request_type == kind for _ in range(it.repeats or 1)
            ]
            for request in asked:
                request.resps.clear()
            replies = getattr(lm, kind)(asked, disable_tqdm=True)
            for request, reply in zip(asked, replies, strict=True):
                request.resps.append(reply)
        # Task.apply_filters would filter all documents, answered or not.
        for filters in self.tasks[documents[0].task]._filters:
            filters.apply(requests)

    def score(self, document: Document) -> dict[str, Any]:
        """Metrics of one answered document, as ``<metric>,<filter>``: plain data."""
        task, scores = self.tasks[document.task], {}
        for filtered in document.requests[0].filtered_resps:
            results = [request.filtered_resps[filtered] for request in document.requests]
            found = task.process_results(document.content, results)
            scores.update({f"{name},{filtered}": plain(value) for name, value in found.items()})
        return scores

    def _contents(self, task: Any) -> Iterator[tuple[int, Any]]:
        return task.doc_iterator(limit=get_sample_size(task, self.limit))


def load(
    specs: Sequence[str | dict[str, Any]],
    include_path: str | None,
    metadata: Mapping[str, Any],
    num_fewshot: int | None,
    limit: int | None,
    seed: int,
    key: str,
) -> Suite:
    """Find and load tasks; lm-eval's own are read only if a name is not found among the others.

    Args:
        specs: names of tasks, groups and tags, YAML files, or whole configurations.
        include_path: a folder of further YAML files.
        metadata: what tasks are told, as ``lm_eval --metadata``.
        num_fewshot: examples before each question; None: as the task says.
        limit: documents of each task; None: all.
        seed: of the examples drawn.
        key: the configuration key of ``specs``, for error messages.

    Raises:
        ValueError: for a name that there is none of, naming the nearest; or a missing package.
        OSError: from data sets that cannot be read.
    """
    folders = [TASKS, *([Path(include_path).expanduser()] if include_path else [])]
    with quiet():
        manager = _manager(folders, metadata, defaults=False)
        names = [it for it in specs if isinstance(it, str) and not it.endswith(".yaml")]
        if not set(names) <= set(manager.all_tasks):
            manager = _manager(folders, metadata, defaults=True)
    for name in names:
        if name not in manager.all_tasks:
            raise _unknown(key, name, manager.all_tasks)
    for group in (it["group"] for it in specs if isinstance(it, dict) and "group" in it):
        raise ValueError(  # lm-eval hands a group's own keys down to its tasks, and stumbles
            f"{key}: the group {group!r} is not allowed as a configuration; write it to a YAML "
            "file, and give its name with include_path, or list its tasks"
        )
    try:
        with quiet():
            loaded = manager.load(list(specs))
    except ImportError as error:
        raise ValueError(f"{key}={list(specs)} needs a package that is missing: {error}") from error
    for task in loaded["tasks"].values():
        given = task.get_config("num_fewshot")
        if num_fewshot is not None and given != 0:  # 0 is a task's way of saying: never any
            task.set_config("num_fewshot", num_fewshot)
        elif given is None:
            task.set_config("num_fewshot", 0)
        task.set_fewshot_seed(seed)
    return Suite(loaded["tasks"], loaded.get("groups", {}), limit)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep lm-eval's bars, notes and hints off the terminal; errors are raised, not printed."""
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


def plain(value: Any) -> Any:
    """``value`` as json would give it back, with NumPy's numbers as Python's."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (str, bool, int)) or value is None:
        return value
    return float(value) if isinstance(value, float) else plain(value.tolist())


def _manager(folders: Sequence[Path], metadata: Mapping[str, Any], defaults: bool) -> TaskManager:
    return TaskManager(
        include_path=list(folders), include_defaults=defaults, metadata=dict(metadata)
    )


def _unknown(key: str, name: str, known: Sequence[str]) -> ValueError:
    """lm-eval has some 15 thousand names: only those of this project and the nearest are told."""
    ours = [path.stem for path in sorted(TASKS.glob("*.yaml"))]
    near = str(refusal(key, name, known)).rpartition("; did you mean ")[2]
    hint = f"; did you mean {near}" if near.endswith("?") else ""
    return ValueError(
        f"{key}={name!r} is not allowed, choose from {', '.join(ours)}, the names that "
        f"`lm-eval ls tasks` lists, a YAML file or a whole configuration{hint}"
    )


def _text(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, default=_describe).encode()


def _describe(value: Any) -> str:
    """What stands for a value that json has no word for: functions their names."""
    if callable(value):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    return str(value)
