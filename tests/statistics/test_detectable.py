"""What a planned run can resolve, against simulated runs."""

import math

import numpy as np
import pytest

from memollm.statistics.detectable import (
    POWER,
    mcnemar_power,
    of_answers,
    of_losses,
    of_scores,
)
from memollm.statistics.signs import sign_flip


@pytest.mark.parametrize(
    ("n", "difference", "discordance"), [(20, 0.4, 0.5), (60, 0.15, 0.2), (12, 0.6, 0.6)]
)
def test_the_power_is_how_often_the_test_finds_it(n, difference, discordance):
    rng = np.random.default_rng(0)
    lost, won = (discordance + difference) / 2, (discordance - difference) / 2
    drawn = rng.choice([-1.0, 1.0, 0.0], p=[lost, won, 1 - discordance], size=(800, n))
    found = np.mean([sign_flip(row) <= 0.05 for row in drawn])
    # Four standard errors of a share of 800.
    assert mcnemar_power(n, difference, discordance) == pytest.approx(found, abs=0.07)


def test_with_no_difference_the_power_is_the_rate_of_false_alarms():
    assert 0 < mcnemar_power(50, 0.0, 0.4) <= 0.05


@pytest.mark.parametrize("noise", [None, 0.0, 0.1, 0.9])
@pytest.mark.parametrize("n", [6, 20, 200])
def test_the_smallest_difference_has_the_power_promised(n, noise):
    smallest = of_answers(n, noise).smallest
    differing = max(0.5, smallest) if noise is None else min(noise + smallest, 1.0)
    assert mcnemar_power(n, smallest, differing) == pytest.approx(POWER, abs=0.01)


def test_more_prompts_resolve_less_and_agreement_helps():
    sizes = [of_answers(n).smallest for n in (10, 20, 50, 200, 1000)]
    assert sizes == sorted(sizes, reverse=True) and sizes[1] == pytest.approx(0.431, abs=1e-3)
    assert of_answers(50, 0.05).smallest < of_answers(50).smallest


def test_fewer_than_six_prompts_resolve_nothing():
    assert of_answers(5).smallest is of_scores(5).smallest is of_losses(5, 0.01).smallest is None
    assert of_answers(6).smallest is not None


def test_scores_follow_the_normal_approximation():
    # 2.80 standard errors: 1.96 for 5 % and 0.84 for a power of 80 %.
    assert of_scores(100, 0.2).smallest == pytest.approx(2.80 * 0.02, rel=1e-3)
    assert of_scores(50).smallest == pytest.approx(2.80 * math.sqrt(0.5 / 50), rel=1e-3)


def test_losses_have_no_worst_case():
    assert of_losses(100, None).smallest is None
    assert of_losses(100, 0.05).smallest == pytest.approx(2.80 * 0.005, rel=1e-3)
