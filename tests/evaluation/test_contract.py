"""What every evaluation promises whoever runs it."""

import dataclasses
import importlib
import json
import pkgutil

import pytest

import memollm.evaluation
from memollm.evaluation.base import Metric
from memollm.evaluation.tasks.ruler import RulerTask
from memollm.registry import groups
from tests.evaluation.scripted import Scripted, copying, retrieving

for module in pkgutil.iter_modules(memollm.evaluation.__path__, "memollm.evaluation."):
    importlib.import_module(module.name)

# A small configuration of each, and a subject that it can measure.
SMALL = {
    "perplexity": (dict(max_tokens=1200, context=300), copying),
    "continuation": (dict(context=200, scored=40, windows=4), copying),
    "needle": (dict(lengths=[1800], depths=[0.0, 0.5, 1.0]), retrieving),
    "ruler": (dict(lengths=[1800], tasks=list(RulerTask)[3:7:3]), retrieving),
    "key_value": (dict(lengths=[900], depths=[0.0, 1.0]), copying),
    "multi_turn": (dict(lengths=[1800], facts=1), retrieving),
    "forgetting_curve": (dict(context=150, targets=50, windows=3, ages=[8, 40, 100]), copying),
}
# These measure the machine or bring their own tasks, and have tests of their own.
APART = {"fidelity", "speed", "lm_eval", "generation"}


@pytest.fixture(params=sorted(SMALL))
def name(request):
    return request.param


@pytest.fixture
def build(name, novel):
    def new():
        part = groups()["evaluation"][name]
        reads = "text" in {field.name for field in dataclasses.fields(part)}
        evaluation = part(**({"text": novel} if reads else {}), **SMALL[name][0])
        evaluation.prepare()
        return evaluation

    return new


@pytest.fixture
def subject(name):
    return Scripted(SMALL[name][1], window=1000)


def test_every_evaluation_is_under_contract():
    assert set(groups()["evaluation"]) <= set(SMALL) | APART


def test_the_same_seed_gives_the_same_samples(build, subject):
    assert list(build().samples(subject)) == list(build().samples(subject))


def test_the_subject_is_left_as_it_was_found(build, subject):
    stream = build().samples(subject)
    next(stream)
    assert subject.open == 0  # even when the run stops here
    stream.close()
    assert (subject.window, subject.prefill_chunk, subject.has_memory) == (1000, 100, True)


def test_ids_are_unique_and_samples_are_plain_data(build, subject):
    evaluation = build()
    evaluation.check(subject)
    samples = list(evaluation.samples(subject))
    assert len(samples) == evaluation.size(subject) > 2
    assert len({sample["id"] for sample in samples}) == len(samples)
    assert json.loads(json.dumps(samples)) == samples


def test_a_resumed_run_ends_with_the_samples_of_an_unbroken_one(build, subject):
    whole = list(build().samples(subject))
    for kept in (whole[:1], whole[1::2], whole):
        rest = list(build().samples(subject, done={sample["id"] for sample in kept}))
        assert sorted([*kept, *rest], key=lambda s: s["id"]) == sorted(whole, key=lambda s: s["id"])


def test_metrics_do_not_depend_on_the_order_of_samples(build, subject):
    evaluation = build()
    samples = list(evaluation.samples(subject))
    found = evaluation.metrics(samples)
    assert found == evaluation.metrics(samples[::-1])
    assert found == evaluation.metrics(json.loads(json.dumps(samples)))
    assert all(isinstance(metric, Metric) and metric.unit for metric in found.values())


def test_metrics_of_nothing_are_refused(build):
    with pytest.raises(ValueError):
        build().metrics([])


def test_a_text_that_changed_between_two_runs_is_noticed(build, subject):
    evaluation = build()
    first, second, *_ = evaluation.samples(subject)
    if "text" not in first:
        return  # it reads none
    with pytest.raises(ValueError, match="has changed since"):
        evaluation.metrics([first, {**second, "text": "another"}])
