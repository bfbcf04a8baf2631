"""A document as a person reads it: the question, what was expected, what was said."""

from __future__ import annotations

from typing import Any

from memollm.evaluation.harness.suite import Document, plain

TAIL = 300  # characters of a prompt: the question, seldom more


def told(task: Any, document: Document) -> dict[str, Any]:
    """Its "question", "expected" and "answer", as far as the kind of task has them."""
    first = document.requests[0]
    if first.request_type == "loglikelihood_rolling":
        return {}
    expected = plain(task.doc_to_target(document.content))
    said: dict[str, Any] = {"question": first.arguments[0][-TAIL:], "expected": expected}
    if first.request_type == "generate_until":
        return {**said, "answer": plain(next(iter(first.filtered_resps.values())))}
    choices = [request.arguments[1].strip() for request in document.requests]
    if task.OUTPUT_TYPE != "multiple_choice":  # one continuation, which is likely or is not
        return {**said, "expected": choices[0], "answer": choices[0] if first.resps[0][1] else ""}
    likeliest = max(range(len(choices)), key=lambda index: document.requests[index].resps[0][0])
    if isinstance(expected, int) and expected < len(choices):
        said["expected"] = choices[expected]
    return {**said, "answer": choices[likeliest]}
