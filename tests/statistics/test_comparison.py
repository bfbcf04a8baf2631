"""A run against its baseline, and many of them in one table."""

import pytest
from scipy.stats import binomtest, false_discovery_control

from memollm.statistics.comparison import compare
from memollm.statistics.corrections import Correction, corrected
from memollm.statistics.pairing import Outcome, match
from tests.statistics.pairs import answers, matched


def test_right_and_wrong_answers_are_compared_exactly():
    found = compare([matched([1, 0, 0, 0, 1, 0, 0, 0], [1, 1, 1, 1, 0, 1, 1, 0])], Outcome.correct)
    assert found.value == pytest.approx(-4 / 8) and (found.better, found.worse) == (1, 5)
    assert found.p == pytest.approx(binomtest(1, 6).pvalue)
    assert (found.pairs, found.prompts, found.leftover) == (8, 8, 0)
    assert found.test.startswith("McNemar's exact test")


def test_no_difference_has_an_interval_still():
    found = compare([matched([1] * 20, [1] * 20)], Outcome.correct)
    assert found.value == 0 and found.p == 1
    assert found.interval == pytest.approx((-0.161, 0.161), abs=5e-4)


def test_seeds_are_pooled_over_their_prompts():
    ours, baseline = [0, 0, 1, 1], [1, 1, 1, 1]
    seeds = [
        match(answers(ours, prompt_hash=seed), answers(baseline, prompt_hash=seed))
        for seed in "abc"
    ]
    found = compare(seeds, Outcome.correct)
    assert (found.pairs, found.prompts, found.worse) == (12, 12, 6)
    assert found.p == pytest.approx(2 / 2**6)


def test_the_same_prompts_under_another_seed_are_no_new_evidence():
    once = matched([0] * 6 + [1] * 6, [1] * 12)
    twice = compare([once, once], Outcome.correct)
    assert (twice.pairs, twice.prompts) == (24, 12)
    assert twice.p == compare([once], Outcome.correct).p


def test_graded_scores_count_who_is_better():
    ours = [{"id": str(i), "score": it} for i, it in enumerate([0.5, 1.0, 0.25])]
    theirs = [{"id": str(i), "score": it} for i, it in enumerate([0.75, 1.0, 0.0])]
    found = compare([match(ours, theirs)], Outcome.score)
    assert found.value == pytest.approx(0) and (found.better, found.worse) == (1, 1)


def test_holm_is_the_step_down_of_bonferroni():
    # Holm (1979): the smallest times 4, the next times 3, ..., never falling.
    assert corrected([0.04, 0.01, 0.03, 0.02], Correction.holm) == pytest.approx(
        [0.06, 0.04, 0.06, 0.06]
    )
    assert corrected([0.9, 0.8], Correction.holm) == [1.0, 1.0]


def test_benjamini_hochberg_is_scipys():
    p = [0.001, 0.02, 0.2, 0.03]
    assert corrected(p, Correction.bh) == pytest.approx(false_discovery_control(p))


@pytest.mark.parametrize("correction", list(Correction))
def test_one_comparison_needs_no_correction_and_none_has_none(correction):
    assert corrected([0.03], correction) == [0.03] and corrected([], correction) == []
