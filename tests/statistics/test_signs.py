"""Sign-flip tests against all flips, against the binomial, and under no difference."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, permutation_test

from memollm.statistics import signs
from memollm.statistics.signs import sign_flip


def every_flip(differences):
    total = abs(sum(differences))
    flips = list(itertools.product([1, -1], repeat=len(differences)))
    # Sums of these eighths are exact, so that ties are.
    far = [abs(sum(s * d for s, d in zip(flip, differences, strict=True))) for flip in flips]
    return sum(it >= total for it in far) / len(flips)


@given(st.lists(st.integers(-24, 24).map(lambda n: n / 8), min_size=1, max_size=10))
def test_it_is_the_share_of_all_flips_that_go_as_far(differences):
    assert sign_flip(np.array(differences)) == pytest.approx(every_flip(differences))


@given(st.integers(0, 40), st.integers(0, 40))
def test_it_is_mcnemars_exact_test_where_answers_are_right_or_wrong(lost, won):
    differences = np.array([-1.0] * lost + [1.0] * won + [0.0] * 5)
    expected = binomtest(lost, lost + won).pvalue if lost + won else 1.0
    assert sign_flip(differences) == pytest.approx(expected)


def test_it_is_scipys_test():
    differences = np.random.default_rng(1).normal(0.3, 1.0, 11)
    exact = permutation_test((differences,), np.sum, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip(differences) == pytest.approx(exact.pvalue)


def test_many_differences_are_sampled_to_nearly_the_exact_value(monkeypatch):
    differences = np.random.default_rng(2).normal(0.4, 1.0, 17)
    sampled = sign_flip(differences)
    monkeypatch.setattr(signs, "ENUMERATED", 17)
    exact = sign_flip(differences)
    # Three standard errors of a share of 19,999 flips.
    assert sampled == pytest.approx(exact, abs=3 * (exact * (1 - exact) / 19999) ** 0.5)


def test_no_difference_is_no_surprise():
    assert sign_flip(np.zeros(4)) == sign_flip(np.array([1.0, -1.0])) == 1.0


def test_five_differences_cannot_be_significant_and_six_can():
    assert sign_flip(np.full(signs.FEWEST - 1, 0.7)) > 0.05 >= sign_flip(np.full(signs.FEWEST, 0.7))


@given(st.lists(st.integers(-9, 9), min_size=3, max_size=9))
def test_rounding_is_no_difference_between_flips(tenths):
    whole = np.array(tenths, dtype=float)
    assert sign_flip(whole / 10) == pytest.approx(sign_flip(whole))


def test_a_false_alarm_is_as_rare_as_promised():
    rng = np.random.default_rng(3)
    p = [sign_flip(rng.normal(size=9)) for _ in range(400)]
    # 5 % of 400 is 20; 35 is three and a half standard deviations above.
    assert sum(it <= 0.05 for it in p) <= 35
