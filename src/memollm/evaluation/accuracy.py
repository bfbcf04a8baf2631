"""Shares of right answers: all of them, and along the axes of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence

from memollm.evaluation.asking import Asking
from memollm.evaluation.base import Metric, Sample
from memollm.evaluation.breakdown import ratio


def accuracies(
    samples: Sequence[Sample], outcome: str, axes: Sequence[tuple[str, ...]]
) -> dict[str, Metric]:
    """``accuracy``, and ``accuracy_<value>`` for every value along each of the axes.

    Where the question was not seen they are called ``accuracy_unseen``: the two ways of asking
    are two measurements, and are never averaged.

    Args:
        samples: with ``outcome``, "asking", "prompt" (answers to one prompt are no independent
            examples) and the axes.
        outcome: the key of what is averaged, 0 to 1.
        axes: each one key of samples or several, whose values are joined.

    Raises:
        ValueError: if there are no samples.
    """
    if not samples:
        raise ValueError("there is no answer to take a share of")
    found: dict[str, Metric] = {}
    for asking in Asking:
        asked = [sample for sample in samples if sample["asking"] == asking]
        name = "accuracy_unseen" if asking is Asking.unseen else "accuracy"
        if not asked:
            continue
        found[name] = _share(asked, outcome)
        for axis in axes:
            for values in sorted({tuple(sample[key] for key in axis) for sample in asked}):
                those = [it for it in asked if tuple(it[key] for key in axis) == values]
                label = "_".join(map(_label, axis, values))
                found[f"{name}_{label}"] = _share(those, outcome)
    return found


def _label(axis: str, value: int | float | str) -> str:
    if axis == "depth":
        return f"depth_{100 * float(value):g}"  # percent: a dot in a name means nesting to W&B
    return value if isinstance(value, str) else f"{axis}_{value}"


def _share(samples: Sequence[Sample], outcome: str) -> Metric:
    prompts: dict[str, list[float]] = {}
    for sample in samples:
        prompts.setdefault(sample["prompt"], []).append(sample[outcome])
    value, error = ratio([(sum(right), len(right)) for right in prompts.values()])
    return Metric(value, "share", True, len(samples), error)
