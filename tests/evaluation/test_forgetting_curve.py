"""The forgetting curve: planted curves are found, what is not old costs nothing."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memollm.evaluation.breakdown import ratio
from memollm.evaluation.curve_fit import exponential, fit, power_law, predict
from memollm.evaluation.forgetting_curve import ForgettingCurve
from tests.evaluation.scripted import VOCABULARY, Scripted, copying, uniform

AGES = [4, 8, 16, 32, 64, 128, 256]
TOKEN = ord("a")


def planted(curve, benefit=1.5, floor=0.5):
    """Loses ``benefit`` nats times the curve of the number of tokens that it sees; on "aaa..."."""

    def predict(tokens):
        loss = floor + benefit * float(curve(np.array(float(len(tokens)))))
        odds = math.log(math.expm1(loss)) - math.log(VOCABULARY - 1)  # of each other token
        return torch.full((VOCABULARY,), odds, dtype=torch.float64).index_fill(
            0, torch.tensor([TOKEN]), 0.0
        )

    return Scripted(predict)


def measure(evaluation, subject):
    evaluation.prepare()
    evaluation.check(subject)
    samples = list(evaluation.samples(subject))
    return evaluation.metrics(samples), samples


@pytest.fixture
def text(tmp_path):
    (tmp_path / "a.txt").write_text("a" * 900)
    return str(tmp_path / "a.txt")


def test_a_planted_strength_is_found_and_can_be_typed_back(text):
    evaluation = ForgettingCurve(
        text=text, ages=AGES, context=400, targets=100, windows=2, time_step=0.02
    )
    found, _ = measure(evaluation, planted(lambda t: exponential(t, 50.0)))
    # The scores are float32; a loss of nats has seven digits.
    assert found["strength_exponential"].value == pytest.approx(50 * 0.02, rel=1e-4)
    assert found["scale_exponential"].value == pytest.approx(50, rel=1e-4)
    assert found["benefit_exponential"].value == pytest.approx(1.5, rel=1e-4)
    assert found["r2_exponential"].value == pytest.approx(1, abs=1e-6)
    assert found["strength_exponential"].stderr == pytest.approx(0, abs=1e-6)  # equal windows
    assert found["r2_power_law"].value < 1


def test_a_planted_power_law_is_found(text):
    evaluation = ForgettingCurve(text=text, ages=AGES, context=400, targets=100, windows=1)
    found, _ = measure(evaluation, planted(lambda t: power_law(t, 20.0, 0.7)))
    assert found["strength_power_law"].value == pytest.approx(20 * 0.01, rel=1e-2)
    assert found["decay_power_law"].value == pytest.approx(0.7, rel=1e-2)
    assert found["r2_power_law"].value > found["r2_exponential"].value
    assert found["strength_power_law"].stderr is None  # of one window


@given(
    st.floats(5, 300), st.floats(0.05, 3), st.sampled_from(["exponential", "power_law"]),
    st.floats(0.3, 2),
)  # fmt: skip
def test_exact_losses_give_the_curve_back(scale, benefit, family, decay):
    shape = [scale] if family == "exponential" else [scale, decay]
    curve = {"exponential": exponential, "power_law": power_law}[family]
    ages, contexts = np.array([4.0, 16, 64, 256, 512]), np.arange(600.0, 900)
    lost = predict(curve, benefit, np.array(shape), ages, contexts)
    found = fit(family, [int(age) for age in ages], lost.tolist(), range(600, 900))
    assert found.r2 == pytest.approx(1, abs=1e-6)
    again = predict(curve, found.benefit, np.array([found.scale, found.decay or 0][: len(shape)]),
                    ages, contexts)  # fmt: skip
    assert again == pytest.approx(lost, abs=1e-3 * benefit)
    if family == "exponential":
        assert found.scale == pytest.approx(scale, rel=1e-3)


def test_a_fit_says_what_it_is_short_of():
    with pytest.raises(ValueError, match="2 ages are too few"):
        fit("power_law", [1, 2], [0.2, 0.1], [10])


def test_nothing_is_lost_beyond_the_context(novel):
    evaluation = ForgettingCurve(
        text=novel, ages=[8, 40, 100, 150, 900], context=150, targets=50, windows=3
    )
    found, _ = measure(evaluation, Scripted(copying))
    assert found["nll_lost_age_150"].value == found["nll_lost_age_900"].value == 0
    assert found["nll_lost_age_8"].value != 0


def test_losses_are_those_of_the_last_tokens_against_the_full_context(text):
    """What is lost at each age, by hand."""
    evaluation = ForgettingCurve(text=text, ages=AGES, context=400, targets=100, windows=1)
    found, samples = measure(evaluation, planted(lambda t: exponential(t, 50.0), 1.5, 0.5))
    for age in AGES:
        full = [exponential(np.array(float(seen)), 50.0) for seen in range(300, 400)]
        near = [exponential(np.array(float(min(seen, age))), 50.0) for seen in range(300, 400)]
        lost = 1.5 * float(np.mean(near) - np.mean(full))
        assert found[f"nll_lost_age_{age}"].value == pytest.approx(lost, abs=1e-6)
    assert samples[0]["tokens"] == found["nll_full"].n == 100


def test_errors_are_clustered_by_document(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text("".join(json.dumps({"text": c * 90}) + "\n" for c in ("ab", "abc", "xyxz")))
    evaluation = ForgettingCurve(
        text=str(path), ages=[4, 8, 16], context=30, targets=10, windows=20, sinks=0
    )
    found, samples = measure(evaluation, Scripted(copying))
    clusters = {}
    for sample in samples:
        entry = clusters.setdefault(sample["id"].split(":")[0], [0.0, 0])
        entry[0] += sample["nll_by_age"]["4"] - sample["nll_full"]
        entry[1] += sample["tokens"]
    assert len(clusters) == 3 < len(samples)
    value, error = ratio([tuple(entry) for entry in clusters.values()])
    assert (found["nll_lost_age_4"].value, found["nll_lost_age_4"].stderr) == (value, error)


def test_windows_are_the_clusters_of_a_single_document(text):
    evaluation = ForgettingCurve(text=text, ages=AGES, context=300, targets=9, windows=3)
    _, samples = measure(evaluation, Scripted(uniform))
    assert [sample["cluster"] for sample in samples] == ["0:0", "0:300", "0:600"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"context": 1}, "context=1 .* at least 2"),
        ({"targets": 2048}, r"targets=2048 .* \[1, .*context=2048"),
        ({"ages": [16, 16, 32]}, "ages=.*different"),
        ({"ages": [0, 16, 32]}, "ages=.*>= 1"),
        ({"ages": [16, 32, 5000]}, "ages=.*three that are shorter than .*context=2048"),
        ({"windows": 0}, "windows=0"),
        ({"sinks": -1}, "sinks=-1"),
        ({"time_step": 0.0}, "time_step=0.0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        ForgettingCurve(**fields)


def test_a_text_without_a_document_of_the_length_is_refused(text):
    evaluation = ForgettingCurve(text=text, context=2048)
    with pytest.raises(ValueError, match=r"no document of .*context=2048.*longest has 900"):
        evaluation.check(Scripted(uniform))
    with pytest.raises(ValueError, match="context=2048 .* 1000 tokens"):
        evaluation.check(Scripted(uniform, max_length=1000))
