"""Continuations: what is read, what is scored, and after what."""

import math

import pytest
import torch

from memollm.evaluation.continuation import Continuation
from tests.evaluation.scripted import Scripted, copying


def evaluation(novel, **settings):
    made = Continuation(text=novel, **{"context": 200, "scored": 40, "windows": 4, **settings})
    made.prepare()
    return made


def test_the_context_is_read_whole_and_its_last_token_opens_the_continuation(novel):
    calls = []

    def predict(tokens):
        calls.append(len(tokens))
        return torch.zeros(256)

    next(evaluation(novel).samples(Scripted(predict)))
    # one forward of 199 tokens, scored by none; then the 200th and the 40 that are scored
    assert calls == [199, *range(200, 241)]


def test_a_uniform_guess_costs_the_logarithm_of_the_vocabulary(novel):
    made = evaluation(novel)
    samples = list(made.samples(Scripted(lambda tokens: torch.zeros(256))))
    assert len(samples) == 4 and all(it["tokens"] == 40 for it in samples)
    assert made.metrics(samples)["nll"].value == pytest.approx(math.log(256), abs=1e-6)
    assert made.metrics(samples)["nll"].n == 160


def test_what_is_forgotten_of_the_context_is_missed(novel):
    def frequencies(tokens):
        return torch.bincount(torch.tensor(tokens), minlength=256).add(0.1).log()

    made = evaluation(novel)
    losses = [
        made.metrics(list(made.samples(Scripted(frequencies, window=window))))["nll"].value
        for window in (1000, 20)
    ]
    assert losses[0] < losses[1]


def test_windows_do_not_overlap_and_lie_in_the_text(novel):
    made = evaluation(novel, windows=1000)
    subject = Scripted(lambda tokens: torch.zeros(256))
    spans = [it["fed"] for it in made.samples(subject)]
    assert len(spans) == made.size(subject) > 4
    assert all(stop - start == 240 for start, stop in spans)
    assert all(one[1] <= other[0] for one, other in zip(spans, spans[1:], strict=False))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"context": 1}, "context=1 is not allowed"),
        ({"scored": 0}, "scored=0 is not allowed"),
        ({"windows": 0}, "windows=0 is not allowed"),
    ],
)
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(ValueError, match=f"evaluation.continuation.{words}"):
        Continuation(**settings)


def test_a_window_longer_than_the_model_or_the_text_is_refused(novel):
    with pytest.raises(ValueError, match="that is 8232 tokens, scripted takes at most 8192"):
        evaluation(novel, context=8192).check(Scripted(copying))
    with pytest.raises(ValueError, match="holds .* tokens"):
        evaluation(novel, context=10**6).check(Scripted(copying, max_length=10**7))
