"""Intervals: against scipy, against every possible table, and by how often they hold the truth."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from memollm.statistics.comparison import compare
from memollm.statistics.intervals import bca, newcombe, wilson
from memollm.statistics.pairing import Clusters, Outcome, match
from tests.statistics.pairs import losses, matched

SIZES = st.integers(0, 30)


def grouped(ours, baseline, size=None):
    size = np.ones(len(ours)) if size is None else np.asarray(size, float)
    return Clusters(np.asarray(ours, float), np.asarray(baseline, float), size)


@given(SIZES, st.integers(1, 30))
def test_the_limits_of_a_share_are_wilsons(right, wrong):
    n = right + wrong
    expected = stats.binomtest(right, n).proportion_ci(method="wilson")
    assert wilson(right, n) == pytest.approx((expected.low, expected.high))


def test_the_limits_of_a_paired_difference_are_newcombes():
    # Method 10 in the tables of the paper: 36, 12, 2 and 0 pairs.
    assert newcombe(36, 12, 2, 0) == pytest.approx((0.0569, 0.3404), abs=5e-5)


@given(SIZES, SIZES, SIZES, st.integers(1, 30))
def test_changing_places_changes_the_sign(both, ours, baseline, neither):
    low, high = newcombe(both, ours, baseline, neither)
    mirrored = newcombe(both, baseline, ours, neither)
    assert (low, high) == pytest.approx((-mirrored[1], -mirrored[0]))
    assert low <= (ours - baseline) / (both + ours + baseline + neither) <= high


@pytest.mark.parametrize(
    "shares", [(0.5, 0.1, 0.2, 0.2), (0.9, 0.0, 0.1, 0.0), (0.2, 0.3, 0.3, 0.2)]
)
def test_a_newcombe_interval_holds_the_truth_in_19_cases_of_20(shares):
    n, held = 12, 0.0
    for both, ours, baseline in itertools.product(range(n + 1), repeat=3):
        counts = (both, ours, baseline, n - both - ours - baseline)
        if counts[3] >= 0:
            low, high = newcombe(*counts)
            ways = math.factorial(n) / math.prod(map(math.factorial, counts))
            chance = ways * math.prod(p**k for p, k in zip(shares, counts, strict=True))
            held += chance * (low <= shares[1] - shares[2] <= high)
    assert held > 0.93  # an approximation; the paper reports 0.95 on average, 0.93 at the worst


def test_a_bca_interval_is_scipys_of_the_mean_difference():
    rng = np.random.default_rng(0)
    ours, baseline = rng.random(25), rng.random(25)
    expected = stats.bootstrap(
        (ours - baseline,), np.mean, method="BCa", rng=np.random.default_rng(5)
    ).confidence_interval
    assert bca(grouped(ours, baseline), False) == pytest.approx(expected, abs=0.01)


def test_answers_of_a_prompt_are_drawn_together():
    answers = [1, 0, 1, 1, 0, 1, 1, 0] * 2
    alone = compare([matched(answers, [1] * 16)], Outcome.correct)
    prompts = [str(i // 2) for i in range(16)]
    same = compare([matched(sorted(answers), [1] * 16, prompts)], Outcome.correct)
    assert (alone.prompts, same.prompts) == (16, 8) and alone.value == same.value
    assert same.interval[1] - same.interval[0] > alone.interval[1] - alone.interval[0]
    assert same.p > alone.p


def test_a_perplexitys_difference_is_of_the_exponentials():
    ours, baseline = [210.0, 190, 205, 220, 180, 200, 215], [200.0, 180, 200, 205, 170, 195, 200]
    runs = [match(losses(ours), losses(baseline))]
    loss = compare(runs, Outcome.nll)
    perplexity = compare(runs, Outcome.nll, exponential=True)
    assert loss.value == pytest.approx((sum(ours) - sum(baseline)) / 700)
    expected = math.exp(sum(ours) / 700) - math.exp(sum(baseline) / 700)
    assert perplexity.value == pytest.approx(expected)
    assert perplexity.interval[0] < expected < perplexity.interval[1]
    assert perplexity.p == loss.p and (loss.better, loss.worse) == (0, 7)


@pytest.mark.parametrize("ours", [[1.0] * 9, [1.0, 0, 0, 1, 0]])
def test_there_is_no_interval_where_nothing_varies_or_too_little_was_asked(ours):
    assert bca(grouped(ours, [0.0] * len(ours)), False) is None


def test_the_same_samples_give_the_same_interval():
    it = grouped([3.0, 1, 4, 1, 5, 9, 2], [2.0, 7, 1, 8, 2, 8, 1])
    assert bca(it, False) == bca(it, False)


@pytest.mark.slow
def test_a_bca_interval_holds_the_truth_in_about_19_cases_of_20():
    rng = np.random.default_rng(0)
    held, trials = 0, 200
    for _ in range(trials):
        baseline = rng.exponential(size=40)
        limits = bca(grouped(baseline + rng.exponential(size=40), baseline), False)
        held += limits[0] <= 1.0 <= limits[1]
    # 40 skewed values: nominal 95 %, less a known shortfall of about 2 points; 4 standard errors.
    assert held / trials == pytest.approx(0.935, abs=0.065)
