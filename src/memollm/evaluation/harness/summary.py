"""From scored documents to metrics, by lm-eval's own aggregation, under its own names."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from lm_eval.api.metrics import bits_per_byte, mean, mean_stderr, weighted_perplexity

from memollm.evaluation.base import Metric, Sample
from memollm.evaluation.breakdown import ratio
from memollm.evaluation.harness.suite import Document, Suite, plain, quiet

# Metrics that are right or wrong for each document; others in [0, 1] are graded.
BINARY = {"acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match"}
GRADED = {"f1", "brier_score", "mcc"}
UNITS = {
    "word_perplexity": "per word",
    "byte_perplexity": "per byte",
    "bits_per_byte": "bits/byte",
    "perplexity": "per answer",
}


def outcome(task: Any, document: Document, scores: Mapping[str, Any]) -> dict[str, Any]:
    """What of a document is compared between runs: ``correct``, ``score`` or ``nll`` (nats)."""
    if document.requests[0].request_type == "loglikelihood_rolling":
        return {"nll": -document.requests[0].resps[0]}
    better = task.higher_is_better()
    for key, value in scores.items():
        name = key.partition(",")[0]
        number = isinstance(value, (bool, int, float))
        if number and better.get(name) and 0 <= value <= 1:
            return {"correct": bool(value == 1)} if name in BINARY else {"score": float(value)}
    return {}


def summarise(suite: Suite, samples: Sequence[Sample]) -> dict[str, Metric]:
    """Every metric of every task and group that ``samples`` have something to say of."""
    samples = sorted(samples, key=lambda it: it["id"])  # sums round alike, whatever came first
    found = _overall(samples)
    by_task: dict[str, dict[str, Any]] = {}  # as lm-eval's groups read them
    for name, task in suite.tasks.items():
        those = [sample for sample in samples if sample["task"] == name]
        if not those:
            continue
        metrics = _of_task(task, those)
        by_task[name] = {"sample_len": len(those)}
        for (metric, filtered), it in metrics.items():
            by_task[name][f"{metric},{filtered}"] = it.value
            if it.stderr is not None:
                by_task[name][f"{metric}_stderr,{filtered}"] = it.stderr
        _add(found, name, metrics)
        if felt := _felt(those):
            found[_safe(name, "can_feel_forgetting", "none")] = felt
    for name, group in suite.groups.items():
        if group.has_aggregation and by_task:
            with quiet():
                summed: Mapping[str, Any] = group.aggregate(by_task)  # pyright: ignore
            _add(found, name, _of_group(summed, found))
    return found


def _overall(samples: Sequence[Sample]) -> dict[str, Metric]:
    """Over the documents of all tasks, and of each where there are several: what a table shows."""
    found = _pooled(samples)
    if felt := _felt(samples):
        found["can_feel_forgetting"] = felt
    tasks = dict.fromkeys(sample["task"] for sample in samples)
    for task in tasks if len(tasks) > 1 else ():
        for name, it in _pooled([it for it in samples if it["task"] == task]).items():
            found[_safe(name, task, "none")] = it
    return found


def _pooled(samples: Sequence[Sample]) -> dict[str, Metric]:
    """Means of what is right or graded, and the perplexity of what has a loss."""
    found = {}
    for name, key in (("accuracy", "correct"), ("score", "score")):
        if values := [float(sample[key]) for sample in samples if key in sample]:
            found[name] = Metric.mean(values, "share", True)
    if losses := [(sample["nll"], sample["tokens"]) for sample in samples if "nll" in sample]:
        value, error = ratio(losses)
        perplexity = math.exp(value)
        doubt = None if error is None else perplexity * error  # delta method
        tokens = sum(count for _, count in losses)
        found["perplexity"] = Metric(perplexity, "per token", False, tokens, doubt)
    return found


def _felt(samples: Sequence[Sample]) -> Metric | None:
    """Share of documents that could tell a memory that forgets from one that does not."""
    felt = [it["can_feel_forgetting"] for it in samples if "can_feel_forgetting" in it]
    return Metric(sum(felt) / len(felt), "share", None, len(felt)) if felt else None


def _of_task(task: Any, samples: Sequence[Sample]) -> dict[tuple[str, str], Metric]:
    better, aggregation = task.higher_is_better(), task.aggregation()
    metrics = {}
    for key in dict.fromkeys(key for sample in samples for key in sample["metrics"]):
        values = [it["metrics"][key] for it in samples if key in it["metrics"]]
        metric, _, filtered = key.partition(",")
        combine = aggregation.get(metric, mean)
        value = float(plain(combine(values)))
        metrics[metric, filtered] = Metric(
            value,
            _unit(metric),
            better.get(metric),
            len(values),
            _error(combine, value, values),
        )
    return metrics


def _error(combine: Any, value: float, values: Sequence[Any]) -> float | None:
    """Standard error of an aggregate over documents; None for those lm-eval would bootstrap."""
    if len(values) < 2:
        return None
    if combine is mean:
        return mean_stderr(values)
    if combine in (weighted_perplexity, bits_per_byte):  # of log-likelihoods and their weights
        _, error = ratio([(-likelihood, weight) for likelihood, weight in values])
        if error is None:
            return None
        return value * error if combine is weighted_perplexity else error / math.log(2)
    return None


def _of_group(summed: Mapping[str, Any], found: Mapping[str, Metric]) -> dict[Any, Metric]:
    metrics = {}
    for key, value in summed.items():
        metric, _, filtered = key.partition(",")
        if not filtered or metric.endswith("_stderr"):
            continue
        error = summed.get(f"{metric}_stderr,{filtered}")
        directions = {it.higher_is_better for name, it in found.items() if name.endswith(metric)}
        better = directions.pop() if len(directions) == 1 else None
        known = None if isinstance(error, str) else error  # "N/A"
        metrics[metric, filtered] = Metric(
            value, _unit(metric), better, summed["sample_len"], known
        )
    return metrics


def _add(found: dict[str, Metric], task: str, metrics: Mapping[tuple[str, str], Metric]) -> None:
    for (metric, filtered), it in metrics.items():
        found[_safe(task, metric, filtered)] = it


def _safe(task: str, metric: str, filtered: str) -> str:
    """A name that W&B takes: no dots, which nest, nor commas."""
    parts = [task, metric, *([filtered] if filtered != "none" else [])]
    return re.sub(r"\W", "_", "_".join(parts))


def _unit(metric: str) -> str:
    return UNITS.get(metric, "share" if metric in BINARY | GRADED else "points")
